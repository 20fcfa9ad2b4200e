package main

import (
	"fmt"
	"os"

	"lithify.test/peers/kit/block"
)

const dumpHelp = `Prints the block in the folder given as the only argument: one line per
series, chunk and sample, in the order of the index.

  series {"__name__"="up", ...}
  chunk <min ms> <max ms> <encoding number> <number of samples>
  <t ms> <value bits, 16 hex digits>
  <t ms> h|fh schema= zt= zc= c= sum= ps= pb= ns= nb= cv= hint=

All fields of a histogram are as stored; see package kit/canon for the form.`

func dump(args []string) error {
	fs := newFlags("dump BLOCK", dumpHelp)
	if err := fs.Parse(args); err != nil {
		return err
	}
	if fs.NArg() != 1 {
		return fmt.Errorf("one block folder is wanted, got %d arguments", fs.NArg())
	}
	return block.Dump(fs.Arg(0), os.Stdout)
}
