// Runs while this replica leads.
package main

import (
	"fmt"
	"time"

	"leasehold"
)

func init() {
	leasehold.OnStartLeading(run)
}

func run(term leasehold.Term) error {
	for round := 1; ; round++ {
		// The work comes here. Send the token along with what is written, and let the receiver refuse lower ones.
		fmt.Printf("round %d, token %d\n", round, term.Token)

		if !leasehold.Wait(time.Second) {
			fmt.Println("asked to stop:", leasehold.StopReason())
			return nil
		}
	}
}

// The host never calls it, and Go asks for it.
func main() {}
