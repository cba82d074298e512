"""`make bench-graphql`: a page of models by our API, by one hand-written statement, by Strawberry, by PostGraphile."""
