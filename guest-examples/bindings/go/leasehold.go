// Package leasehold is what a leader-only task needs of its host.
//
// What is under imports and exports/wit_exports is generated from the WIT package.
package leasehold

import (
	"runtime"
	"runtime/debug"
	"time"

	"leasehold/exports/export_wit_world"
	_ "leasehold/exports/wit_exports"
	"leasehold/imports/leasehold_task_leadership"
	"leasehold/imports/leasehold_task_types"
	"leasehold/imports/wasi_clocks_monotonic_clock"
	"leasehold/imports/wasi_io_poll"

	wit_runtime "go.bytecodealliance.org/pkg/wit/runtime"
)

// Term is one uninterrupted time as the holder of the Lease.
type Term = leasehold_task_types.Term

func init() {
	// The host calls back into Go for memory to put an answer in, and from there nothing may be called. A garbage
	// collector at work there would look at the clock, which traps: "cannot leave component instance". So it never
	// begins by itself, only in Collect.
	debug.SetGCPercent(-1)
}

// OnStartLeading sets what runs in each term. To be called from an init function: there is no main.
// An error has it started again after a delay.
func OnStartLeading(run func(Term) error) {
	export_wit_world.Start = run
}

// Collect is when the memory that is no longer needed is freed. Wait does it; a task that works for long without
// waiting has to, before it reaches its limit of memory.
func Collect() {
	// What the host has answered so far was kept as it stood; from here on it is kept while something refers to it.
	wit_runtime.Unpin()
	runtime.GC()
	// What the collector found to be closed is closed by another goroutine: now, and not in a call back.
	runtime.Gosched()
}

// Wait sleeps, and frees memory. It returns false once the host has asked the task to stop, at once
// when it does; then a grace time runs, after which the task is ended where it stands.
//
// time.Sleep and timers are not for a task: what waits for them looks at the clock in a call back, too.
func Wait(duration time.Duration) bool {
	Collect()
	stop := leasehold_task_leadership.SubscribeStop()
	defer stop.Drop()
	timer := wasi_clocks_monotonic_clock.SubscribeDuration(uint64(max(duration, 0)))
	defer timer.Drop()
	wasi_io_poll.Poll([]*wasi_io_poll.Pollable{stop, timer})
	return !Stopping()
}

// Stopping says whether the host has asked the task to stop.
func Stopping() bool {
	return leasehold_task_leadership.StopRequested().IsSome()
}

// StopReason says why, in the words of the WIT package, and "" while nothing is asked.
func StopReason() string {
	reason := leasehold_task_leadership.StopRequested()
	if reason.IsNone() {
		return ""
	}
	switch reason.Some() {
	case leasehold_task_types.StopReason_LeadershipLost:
		return "leadership-lost"
	case leasehold_task_types.StopReason_Shutdown:
		return "shutdown"
	case leasehold_task_types.StopReason_ModuleReplaced:
		return "module-replaced"
	case leasehold_task_types.StopReason_SteppedDown:
		return "stepped-down"
	default:
		return "unresponsive"
	}
}
