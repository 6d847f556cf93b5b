module configmap-replicator

go 1.25

require (
	go.bytecodealliance.org/pkg v0.2.1
	leasehold v0.0.0
)

replace leasehold => ../bindings/go
