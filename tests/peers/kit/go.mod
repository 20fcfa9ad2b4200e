module lithify.test/peers/kit

go 1.25.8

require (
	github.com/oklog/ulid/v2 v2.1.1
	github.com/prometheus/prometheus v0.309.1
)
