// Counts its terms in the checkpoint.
package main

import (
	"fmt"
	"strconv"
	"time"

	"leasehold"
)

func init() {
	leasehold.OnStartLeading(run)
}

func run(leasehold.Term) error {
	terms := 0
	if saved := leasehold.LoadCheckpoint(); saved != nil {
		var err error
		if terms, err = strconv.Atoi(string(saved)); err != nil {
			return err
		}
	}
	fmt.Println("too large:", leasehold.SaveCheckpoint(make([]byte, 65537)))
	if err := leasehold.SaveCheckpoint([]byte(strconv.Itoa(terms + 1))); err != nil {
		return err
	}
	leasehold.ReportProgress("counted")
	fmt.Println("terms before this one:", terms)
	for leasehold.Wait(time.Second) {
	}
	return nil
}

func main() {}
