// A collector of spans, for the tests: it takes OTLP over HTTP in JSON, decodes it as the OpenTelemetry Collector does
// (with its own library), and prints a line of JSON for each span.
//
//	collector ADDRESS
package main

import (
	"encoding/json"
	"fmt"
	"io"
	"log"
	"net"
	"net/http"
	"os"

	"go.opentelemetry.io/collector/pdata/ptrace/ptraceotlp"
)

type span struct {
	Event      string         `json:"event"`
	Resource   map[string]any `json:"resource"`
	Scope      string         `json:"scope"`
	Trace      string         `json:"trace"`
	ID         string         `json:"id"`
	Parent     string         `json:"parent"`
	Name       string         `json:"name"`
	Kind       string         `json:"kind"`
	Start      int64          `json:"start"`
	End        int64          `json:"end"`
	Attributes map[string]any `json:"attributes"`
	Status     string         `json:"status"`
	Message    string         `json:"message"`
	Header     string         `json:"header"`
}

func take(answer http.ResponseWriter, asked *http.Request) {
	body, err := io.ReadAll(asked.Body)
	if err != nil {
		log.Fatal(err)
	}
	request := ptraceotlp.NewExportRequest()
	if asked.Method != http.MethodPost || asked.URL.Path != "/v1/traces" || asked.Header.Get("Content-Type") != "application/json" {
		log.Fatalf("not what OTLP asks for: %s %s %s", asked.Method, asked.URL, asked.Header)
	}
	if err := request.UnmarshalJSON(body); err != nil {
		log.Fatalf("%s: %s", err, body)
	}
	for _, ofResource := range request.Traces().ResourceSpans().All() {
		for _, ofScope := range ofResource.ScopeSpans().All() {
			for _, s := range ofScope.Spans().All() {
				line, err := json.Marshal(span{
					Event:      "span",
					Resource:   ofResource.Resource().Attributes().AsRaw(),
					Scope:      ofScope.Scope().Name(),
					Trace:      s.TraceID().String(),
					ID:         s.SpanID().String(),
					Parent:     s.ParentSpanID().String(),
					Name:       s.Name(),
					Kind:       s.Kind().String(),
					Start:      s.StartTimestamp().AsTime().UnixNano(),
					End:        s.EndTimestamp().AsTime().UnixNano(),
					Attributes: s.Attributes().AsRaw(),
					Status:     s.Status().Code().String(),
					Message:    s.Status().Message(),
					Header:     asked.Header.Get("X-Test"),
				})
				if err != nil {
					log.Fatal(err)
				}
				fmt.Println(string(line))
			}
		}
	}
	taken, err := ptraceotlp.NewExportResponse().MarshalJSON()
	if err != nil {
		log.Fatal(err)
	}
	answer.Header().Set("Content-Type", "application/json")
	if _, err := answer.Write(taken); err != nil {
		log.Print(err)
	}
}

func main() {
	if len(os.Args) != 2 {
		log.Fatal("usage: collector ADDRESS")
	}
	listener, err := net.Listen("tcp", os.Args[1])
	if err != nil {
		log.Fatal(err)
	}
	fmt.Printf("{\"event\": \"listening\", \"address\": %q}\n", listener.Addr())
	log.Fatal(http.Serve(listener, http.HandlerFunc(take)))
}
