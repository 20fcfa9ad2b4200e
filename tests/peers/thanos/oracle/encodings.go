package main

import (
	"lithify.test/peers/kit/fixture"
)

const encodingsHelp = `Writes one small block per chunk encoding that this version of Prometheus knows,
each as <out>/<number>-<name>/<ULID>/ with its dump in expected.txt beside it:
1 XOR, 2 histogram, 3 float histogram. oracle314 writes 4 to 6.`

func encodings(args []string) error {
	fs := newFlags("encodings", encodingsHelp)
	out := fs.String("out", "", "folder for the blocks")
	if err := fs.Parse(args); err != nil {
		return err
	}
	if err := required("out", *out); err != nil {
		return err
	}
	for _, e := range []fixture.Encoding{
		{Number: 1, Name: "xor", Series: fixture.Floats()},
		{Number: 2, Name: "histogram", Series: fixture.Histograms(false)},
		{Number: 3, Name: "float-histogram", Series: fixture.Histograms(true)},
	} {
		if err := e.Write(*out); err != nil {
			return err
		}
	}
	return nil
}
