package leasehold

import (
	"errors"
	"fmt"

	"leasehold/imports/leasehold_task_checkpoint"
	"leasehold/imports/leasehold_task_progress"
)

// ErrNotLeading is returned when a checkpoint comes too late: what the next leader has saved stands.
var ErrNotLeading = errors.New("this task does not lead any more")

// LoadCheckpoint returns what was saved last, in this term or an earlier one, and nil where nothing was.
func LoadCheckpoint() []byte {
	return leasehold_task_checkpoint.Load().SomeOr(nil)
}

// SaveCheckpoint saves small state (64 KiB at most) that the next leader gets, wherever it runs, in place of what was
// saved before. It stands on the Lease, and is written at most once a second: a save waits for its turn.
func SaveCheckpoint(state []byte) error {
	saved := leasehold_task_checkpoint.Save(state)
	if saved.IsOk() {
		return nil
	}
	switch why := saved.Err(); why.Tag() {
	case leasehold_task_checkpoint.SaveError_TooLarge:
		return fmt.Errorf("the checkpoint has %d bytes, more than %d", len(state), why.TooLarge())
	case leasehold_task_checkpoint.SaveError_NotLeading:
		return ErrNotLeading
	default:
		return fmt.Errorf("the checkpoint is not saved: %s", why.Refused())
	}
}

// ReportProgress says that the task is alive, and what it is doing (256 bytes at most). Where the task's config has a
// progress deadline, one that does not report for so long is stopped and started again.
func ReportProgress(message string) {
	leasehold_task_progress.Report(message)
}
