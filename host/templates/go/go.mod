module task

go 1.25

require leasehold v0.0.0

require go.bytecodealliance.org/pkg v0.2.1 // indirect

replace leasehold => ./leasehold
