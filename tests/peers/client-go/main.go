// An elector as most write it in Go: client-go's leaderelection with its usual durations. It
// prints a line of JSON when it begins to lead, for Leasehold to be compared with.
//
// It gives the Lease up when it ends, but with RELEASE_ON_CANCEL=false, which is what controller-runtime does
// where it is not told otherwise.
//
// KUBECONFIG names the cluster; without it, it is the one that this runs in, as a Pod. NAMESPACE is
// that of the Lease. With LEASES=n, it competes for n of them at once, LEASE-0000 and so on.
package main

import (
	"context"
	"flag"
	"fmt"
	"io"
	"os"
	"os/signal"
	"strconv"
	"sync"
	"syscall"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/util/uuid"
	"k8s.io/client-go/kubernetes"
	coordination "k8s.io/client-go/kubernetes/typed/coordination/v1"
	"k8s.io/client-go/tools/clientcmd"
	"k8s.io/client-go/tools/leaderelection"
	"k8s.io/client-go/tools/leaderelection/resourcelock"
	"k8s.io/klog/v2"
)

func main() {
	if len(os.Args) != 3 {
		fmt.Fprintln(os.Stderr, "usage: client-go LEASE IDENTITY (and KUBECONFIG and NAMESPACE in the environment)")
		os.Exit(2)
	}
	silenceKlog()
	config, err := clientcmd.BuildConfigFromFlags("", os.Getenv("KUBECONFIG"))
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
	namespace := os.Getenv("NAMESPACE")
	if namespace == "" {
		namespace = "default"
	}
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGTERM)
	defer stop()
	context.AfterFunc(ctx, func() { say("shutdown") })
	say("candidate")
	leases := []string{os.Args[1]}
	if count := os.Getenv("LEASES"); count != "" {
		leases = many(os.Args[1], count)
		// The usual limit of five requests a second would not let it renew them.
		config.QPS = -1
	}
	client := kubernetes.NewForConfigOrDie(config).CoordinationV1()
	var electors sync.WaitGroup
	for _, lease := range leases {
		electors.Go(func() { compete(ctx, client, namespace, lease) })
	}
	electors.Wait()
}

func compete(ctx context.Context, client coordination.CoordinationV1Interface, namespace, lease string) {
	say := func(event string) { sayOf(event, lease) }
	leaderelection.RunOrDie(ctx, leaderelection.LeaderElectionConfig{
		Lock: &resourcelock.LeaseLock{
			LeaseMeta: metav1.ObjectMeta{Namespace: namespace, Name: lease},
			Client:    client,
			// As controller-runtime makes it. With a name that outlives the process, a container that is
			// started again goes on as the leader that it was, if it comes before the others.
			LockConfig: resourcelock.ResourceLockConfig{Identity: os.Args[2] + "_" + string(uuid.NewUUID())},
		},
		LeaseDuration:   duration("LEASE_DURATION", 15*time.Second),
		RenewDeadline:   duration("RENEW_DEADLINE", 10*time.Second),
		RetryPeriod:     duration("RETRY_PERIOD", 2*time.Second),
		ReleaseOnCancel: os.Getenv("RELEASE_ON_CANCEL") != "false",
		Callbacks: leaderelection.LeaderCallbacks{
			OnStartedLeading: func(ctx context.Context) { say("guest-output") },
			OnStoppedLeading: func() { say("guest-stopped") },
			OnNewLeader:      func(identity string) { say("new-leader") },
		},
	})
}

// The names of that many leases.
func many(prefix, count string) []string {
	number, err := strconv.Atoi(count)
	if err != nil || number < 1 {
		fmt.Fprintln(os.Stderr, "LEASES must be a number of leases, not", count)
		os.Exit(2)
	}
	var names []string
	for index := range number {
		names = append(names, fmt.Sprintf("%s-%04d", prefix, index))
	}
	return names
}

// Without errors on stderr either.
func silenceKlog() {
	flags := flag.NewFlagSet("klog", flag.PanicOnError)
	klog.InitFlags(flags)
	for name, value := range map[string]string{"logtostderr": "false", "stderrthreshold": "FATAL"} {
		if err := flags.Set(name, value); err != nil {
			panic(err)
		}
	}
	klog.SetOutput(io.Discard)
}

// Out of the environment, where it is there.
func duration(name string, usual time.Duration) time.Duration {
	text, set := os.LookupEnv(name)
	if !set {
		return usual
	}
	value, err := time.ParseDuration(text)
	if err != nil {
		fmt.Fprintln(os.Stderr, name, err)
		os.Exit(2)
	}
	return value
}

// In the words of Leasehold's log, so that the benchmark reads both alike.
func say(event string) { sayOf(event, "") }

func sayOf(event, lease string) {
	fmt.Printf("{\"timestamp\":%q,\"event\":%q,\"task\":%q}\n", time.Now().UTC().Format("2006-01-02T15:04:05.000000Z"), event, lease)
}
