// Command oracle answers the questions of Lithify's tests with the code of
// Prometheus and Thanos themselves: it writes blocks, re-encodes and merges
// chunks, prints what a block holds and compares two buckets.
package main

import (
	"errors"
	"flag"
	"fmt"
	"os"
)

type command struct {
	name, summary string
	run           func(args []string) error
}

func commands() []command {
	return []command{
		{"quickstart", "write the quick-start bucket", quickstart},
		{"encodings", "write one small block per chunk encoding 1-3", encodings},
		{"index-v1", "write a block whose index has format version 1", indexV1},
		{"chunks", "write golden vectors: samples to chunks", goldenChunks},
		{"chunkseries", "write golden vectors: vertical merge of one series", goldenMerge},
		{"plans", "write golden vectors: what Thanos plans for a bucket", plans},
		{"penalty", "write golden vectors: deduplication by penalty", goldenPenalty},
		{"downsample", "write golden vectors: downsampling of one series", goldenDownsample},
		{"downsample-blocks", "downsample a bucket with Thanos' own code", downsampleBlocks},
		{"aggregates", "write a bucket that downsampling stumbles over", aggregates},
		{"dump", "print a block as canonical text", dump},
		{"compare", "compare the samples of two sets of blocks", compare},
		{"penalty-blocks", "compare compacted blocks with a deduplicated query", penaltyBlocks},
		{"bench-blocks", "write the large input of the benchmarks", benchBlocks},
		{"platform-bucket", "write 90 days of raw blocks of four clusters", platformBucket},
	}
}

// errDifferent makes the process exit with 1 after a report was printed;
// every other failure exits with 2.
var errDifferent = errors.New("the two sides differ")

func main() {
	if len(os.Args) < 2 || os.Args[1] == "-h" || os.Args[1] == "--help" || os.Args[1] == "help" {
		usage()
		return
	}
	for _, c := range commands() {
		if c.name != os.Args[1] {
			continue
		}
		err := c.run(os.Args[2:])
		switch {
		case err == nil, errors.Is(err, flag.ErrHelp):
			return
		case errors.Is(err, errDifferent):
			os.Exit(1)
		default:
			fmt.Fprintf(os.Stderr, "oracle %s: %v\n", c.name, err)
			os.Exit(2)
		}
	}
	fmt.Fprintf(os.Stderr, "oracle: no subcommand %q\n", os.Args[1])
	usage()
	os.Exit(2)
}

func usage() {
	fmt.Fprintln(os.Stderr, "usage: oracle <subcommand> [flags]; every subcommand has --help")
	for _, c := range commands() {
		fmt.Fprintf(os.Stderr, "  %-17s %s\n", c.name, c.summary)
	}
}

// newFlags makes the flag set of a subcommand with a help text of its own.
func newFlags(name, help string) *flag.FlagSet {
	fs := flag.NewFlagSet(name, flag.ContinueOnError)
	fs.Usage = func() {
		fmt.Fprintf(os.Stderr, "usage: oracle %s [flags]\n\n%s\n\nflags:\n", name, help)
		fs.PrintDefaults()
	}
	return fs
}

// required fails when a flag that has no sensible default was not given.
func required(name, value string) error {
	if value == "" {
		return fmt.Errorf("--%s is required", name)
	}
	return nil
}
