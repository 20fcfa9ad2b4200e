// Command oracle314 writes and reads blocks with the chunk encodings that
// Prometheus 3.14 added. It is a program of its own because one Go program can
// hold one version of Prometheus only.
package main

import (
	"flag"
	"fmt"
	"os"

	"github.com/prometheus/prometheus/tsdb"
	"github.com/prometheus/prometheus/tsdb/chunkenc"

	"lithify.test/peers/kit/block"
	"lithify.test/peers/kit/fixture"
)

const help = `usage: oracle314 encodings --out DIR
       oracle314 dump BLOCK

encodings  writes one small block per chunk encoding 4 to 6, each as
           <out>/<number>-<name>/<ULID>/ with its dump in expected.txt beside it:
           4 XOR2, 5 histogram and 6 float histogram with start timestamps
dump       prints a block as canonical text (see "oracle dump --help"); sample
           lines of these encodings end with st=<start timestamp, ms>`

func main() {
	if len(os.Args) < 2 || os.Args[1] == "-h" || os.Args[1] == "--help" {
		fmt.Fprintln(os.Stderr, help)
		return
	}
	if err := run(os.Args[1], os.Args[2:]); err != nil {
		fmt.Fprintf(os.Stderr, "oracle314 %s: %v\n", os.Args[1], err)
		os.Exit(2)
	}
}

func run(command string, args []string) error {
	fs := flag.NewFlagSet(command, flag.ContinueOnError)
	fs.Usage = func() { fmt.Fprintln(os.Stderr, help) }
	out := fs.String("out", "", "folder for the blocks")
	switch err := fs.Parse(args); {
	case err == flag.ErrHelp:
		return nil
	case err != nil:
		return err
	}
	switch command {
	case "encodings":
		if *out == "" {
			return fmt.Errorf("--out is required")
		}
		return encodings(*out)
	case "dump":
		if fs.NArg() != 1 {
			return fmt.Errorf("one block folder is wanted, got %d arguments", fs.NArg())
		}
		return block.Dump(fs.Arg(0), os.Stdout)
	default:
		return fmt.Errorf("no such subcommand\n%s", help)
	}
}

func encodings(out string) error {
	for _, e := range []fixture.Encoding{
		{Number: 4, Name: "xor2", Series: fixture.Floats()},
		{Number: 5, Name: "histogram-st", Series: fixture.Histograms(false)},
		{Number: 6, Name: "float-histogram-st", Series: fixture.Histograms(true)},
	} {
		e.Tune = withStartTimestamps
		if err := e.Write(out); err != nil {
			return err
		}
	}
	return nil
}

// withStartTimestamps sets what the server's feature flags for start
// timestamps and the new encodings set.
func withStartTimestamps(o *tsdb.HeadOptions) {
	o.EnableSTStorage.Store(true)
	o.EnableHistogramSTEncoding.Store(true)
	o.FloatChunkEncoding.Store(uint32(chunkenc.EncXOR2))
}
