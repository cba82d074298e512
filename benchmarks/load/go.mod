module guildhall/benchmarks/load

go 1.22
