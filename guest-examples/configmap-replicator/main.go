// Keeps copies of ConfigMaps in other namespaces, and takes them away when the original goes.
package main

import (
	"errors"
	"fmt"
	"os"
	"strings"
	"time"

	"leasehold"
	"leasehold/client"
)

func init() {
	leasehold.OnStartLeading(run)
}

// config is what the environment says.
type config struct {
	// source is the namespace of the originals.
	source string
	// selector takes those of them that are to be copied.
	selector string
	// targets are the namespaces of the copies.
	targets []string
	every   time.Duration
}

func run(term leasehold.Term) error {
	config, err := fromEnvironment()
	if err != nil {
		return err
	}
	for {
		// What fails is tried again in the next round: the API server may only be away for a while.
		if err := replicate(config, term.Token); errors.Is(err, client.ErrStopping) {
			break
		} else if err != nil {
			fmt.Fprintln(os.Stderr, "not all is replicated:", err)
			leasehold.ReportProgress("not all is replicated")
		} else {
			leasehold.ReportProgress("all is replicated")
		}
		if !leasehold.Wait(config.every) {
			break
		}
	}
	fmt.Println("asked to stop:", leasehold.StopReason())
	return nil
}

// replicate is one round. It goes on behind what fails.
func replicate(config config, token uint64) error {
	originals, err := list(config.source, config.selector)
	if err != nil {
		return err
	}
	var failed []error
	for _, namespace := range config.targets {
		if leasehold.Stopping() {
			return client.ErrStopping
		}
		failed = append(failed, inNamespace(namespace, originals, config.source, token))
	}
	return errors.Join(failed...)
}

func inNamespace(namespace string, originals []configMap, source string, token uint64) error {
	// All, and not the copies only: one that somebody else has made is in the way, and stays.
	present, err := list(namespace, "")
	if err != nil {
		return err
	}
	byName := map[string]configMap{}
	for _, there := range present {
		byName[there.Metadata.Name] = there
	}
	var failed []error
	wanted := map[string]bool{}
	for _, original := range originals {
		wanted[original.Metadata.Name] = true
		there, exists := byName[original.Metadata.Name]
		failed = append(failed, bringUpToDate(original, there, exists, namespace, token))
	}
	for _, there := range present {
		if there.isCopyFrom(source) && !wanted[there.Metadata.Name] {
			if err := remove(there); err != nil {
				failed = append(failed, err)
				continue
			}
			fmt.Printf("removed %s/%s: its original is gone\n", namespace, there.Metadata.Name)
		}
	}
	return errors.Join(failed...)
}

func bringUpToDate(original, there configMap, exists bool, namespace string, token uint64) error {
	name := original.Metadata.Name
	switch {
	case exists && !there.isCopyOf(original):
		return fmt.Errorf("%s/%s is there already, and no copy of %s/%s: it stays as it is",
			namespace, name, original.Metadata.Namespace, name)
	case exists && there.sameContents(original):
		return nil
	}
	if err := write(original.copyFor(namespace, there.Metadata, token), exists); err != nil {
		return err
	}
	fmt.Printf("wrote %s/%s\n", namespace, name)
	return nil
}

func fromEnvironment() (config, error) {
	every, err := time.ParseDuration(withDefault("EVERY", "30s"))
	if err != nil {
		return config{}, fmt.Errorf("EVERY: %w", err)
	}
	read := config{
		source:   os.Getenv("SOURCE_NAMESPACE"),
		selector: withDefault("SELECTOR", "leasehold.dev/replicate=true"),
		targets:  strings.FieldsFunc(os.Getenv("TARGET_NAMESPACES"), func(r rune) bool { return r == ',' || r == ' ' }),
		every:    every,
	}
	if read.source == "" || len(read.targets) == 0 {
		return config{}, errors.New("SOURCE_NAMESPACE and TARGET_NAMESPACES (with commas between) must be set")
	}
	for _, target := range read.targets {
		if target == read.source {
			return config{}, fmt.Errorf("TARGET_NAMESPACES has %s, where the originals are", target)
		}
	}
	return read, nil
}

func withDefault(name, value string) string {
	if text := os.Getenv(name); text != "" {
		return text
	}
	return value
}

// The host never calls it, and Go asks for it.
func main() {}
