// Package export_wit_world is where the generated exports look for the task.
package export_wit_world

import (
	"leasehold/imports/leasehold_task_types"

	wit_types "go.bytecodealliance.org/pkg/wit/types"
)

// Start is the task; the package leasehold sets it.
var Start func(leasehold_task_types.Term) error

// OnStartLeading is called by the generated code.
func OnStartLeading(term leasehold_task_types.Term) wit_types.Result[wit_types.Unit, string] {
	if Start == nil {
		return wit_types.Err[wit_types.Unit, string]("the task has not called leasehold.OnStartLeading in an init function")
	}
	if err := Start(term); err != nil {
		return wit_types.Err[wit_types.Unit, string](err.Error())
	}
	return wit_types.Ok[wit_types.Unit, string](wit_types.Unit{})
}
