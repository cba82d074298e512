// Load sends prepared GraphQL requests over a few kept connections, one at a time on each, and says as JSON what came
// back. It shares its two cores with what it measures, so it parses no more of an answer than its length and its begin.
package main

import (
	"bufio"
	"bytes"
	"encoding/json"
	"flag"
	"fmt"
	"io"
	"net"
	"os"
	"sort"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"time"
)

// toldMax is how many of the answers that were refused are told, the first ones of all connections.
const toldMax = 3

type refusal struct {
	after time.Duration
	told  string
}

type outcome struct {
	durations []time.Duration
	bytes     int64
	refused   int64
	first     []refusal
}

type report struct {
	Requests   int      `json:"requests"`
	Refused    int64    `json:"refused"`
	First      []string `json:"first"`
	Seconds    float64  `json:"seconds"`
	P50        float64  `json:"p50_ms"`
	P99        float64  `json:"p99_ms"`
	Bytes      float64  `json:"bytes"`
	CPUSeconds float64  `json:"cpu_seconds"`
}

func main() {
	address := flag.String("address", "", "host:port")
	headers := flag.String("headers", "", "more header lines, separated by |")
	bodies := flag.String("bodies", "", "a file with one JSON body a line; each connection takes the next one")
	connections := flag.Int("connections", 8, "how many at once")
	seconds := flag.Float64("seconds", 3, "how long, unless requests are given")
	requests := flag.Int64("requests", 0, "how many; 0 means as many as the time allows")
	flag.Parse()
	raw, err := os.ReadFile(*bodies)
	must(err)
	prepared := prepare(raw, *address, *headers)
	var next atomic.Int64
	outcomes := make([]outcome, *connections)
	opened := make([]net.Conn, *connections)
	for number := range opened {
		opened[number], err = net.Dial("tcp", *address)
		must(err)
	}
	var group sync.WaitGroup
	began := time.Now()
	ends := began.Add(time.Duration(*seconds * float64(time.Second)))
	more := func() (int64, bool) {
		number := next.Add(1) - 1
		if *requests > 0 {
			return number, number < *requests
		}
		return number, time.Now().Before(ends)
	}
	for number := range opened {
		group.Add(1)
		go func() {
			defer group.Done()
			drive(opened[number], prepared, began, more, &outcomes[number])
		}()
	}
	group.Wait()
	must(json.NewEncoder(os.Stdout).Encode(summary(outcomes, time.Since(began))))
}

func prepare(raw []byte, address, headers string) [][]byte {
	var prepared [][]byte
	more := ""
	if headers != "" {
		more = strings.ReplaceAll(headers, "|", "\r\n") + "\r\n"
	}
	for _, body := range bytes.Split(bytes.TrimSpace(raw), []byte("\n")) {
		head := fmt.Sprintf("POST /graphql HTTP/1.1\r\nHost: %s\r\nContent-Type: application/json\r\n"+
			"Accept: application/json\r\n%sContent-Length: %d\r\n\r\n", address, more, len(body))
		prepared = append(prepared, append([]byte(head), body...))
	}
	return prepared
}

func drive(connection net.Conn, prepared [][]byte, start time.Time, more func() (int64, bool), found *outcome) {
	defer connection.Close()
	reader := bufio.NewReaderSize(connection, 256<<10)
	var body bytes.Buffer
	for {
		number, ok := more()
		if !ok {
			return
		}
		began := time.Now()
		_, err := connection.Write(prepared[number%int64(len(prepared))])
		must(err)
		status := read(reader, &body)
		found.durations = append(found.durations, time.Since(began))
		found.bytes += int64(body.Len())
		begin := body.Bytes()[:min(body.Len(), 300)]
		if status != 200 || bytes.Contains(begin, []byte(`"errors"`)) {
			found.refused++
			if len(found.first) < toldMax {
				found.first = append(found.first, refusal{time.Since(start), fmt.Sprintf("%d %s", status, begin)})
			}
		}
	}
}

func read(reader *bufio.Reader, body *bytes.Buffer) int {
	body.Reset()
	line := readLine(reader)
	status, err := strconv.Atoi(strings.Fields(line)[1])
	must(err)
	length, chunked := 0, false
	for line = readLine(reader); line != ""; line = readLine(reader) {
		name, value, _ := strings.Cut(strings.ToLower(line), ":")
		switch name {
		case "content-length":
			length, err = strconv.Atoi(strings.TrimSpace(value))
			must(err)
		case "transfer-encoding":
			chunked = strings.Contains(value, "chunked")
		}
	}
	if !chunked {
		copyBytes(body, reader, length)
		return status
	}
	for {
		size, err := strconv.ParseInt(readLine(reader), 16, 64)
		must(err)
		copyBytes(body, reader, int(size))
		readLine(reader)
		if size == 0 {
			return status
		}
	}
}

func copyBytes(body *bytes.Buffer, reader *bufio.Reader, length int) {
	_, err := io.CopyN(body, reader, int64(length))
	must(err)
}

func readLine(reader *bufio.Reader) string {
	line, err := reader.ReadString('\n')
	must(err)
	return strings.TrimRight(line, "\r\n")
}

func summary(outcomes []outcome, elapsed time.Duration) report {
	var all []time.Duration
	var first []refusal
	var made report
	total := int64(0)
	for _, found := range outcomes {
		all = append(all, found.durations...)
		total += found.bytes
		made.Refused += found.refused
		first = append(first, found.first...)
	}
	sort.Slice(first, func(left, right int) bool { return first[left].after < first[right].after })
	made.First = []string{}
	for _, found := range first[:min(len(first), toldMax)] {
		made.First = append(made.First, fmt.Sprintf("after %d ms: %s", found.after.Milliseconds(), found.told))
	}
	sort.Slice(all, func(left, right int) bool { return all[left] < all[right] })
	at := func(share float64) float64 {
		return float64(all[int(share*float64(len(all)-1))].Microseconds()) / 1000
	}
	made.Requests, made.Seconds = len(all), elapsed.Seconds()
	made.P50, made.P99, made.Bytes = at(0.5), at(0.99), float64(total)/float64(len(all))
	var usage syscall.Rusage
	must(syscall.Getrusage(syscall.RUSAGE_SELF, &usage))
	made.CPUSeconds = time.Duration(usage.Utime.Nano() + usage.Stime.Nano()).Seconds()
	return made
}

func must(err error) {
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
}
