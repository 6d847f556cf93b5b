// Package client sends HTTP requests through the host, which lets out what the task's config allows.
//
// It is what net/http is too large for: that makes a module of 10 MB of one of 3 MB.
package client

import (
	"errors"
	"fmt"
	"net/url"
	"strings"

	"leasehold/imports/leasehold_task_leadership"
	"leasehold/imports/wasi_http_outgoing_handler"
	"leasehold/imports/wasi_http_types"
	"leasehold/imports/wasi_io_poll"
	"leasehold/imports/wasi_io_streams"

	wit_types "go.bytecodealliance.org/pkg/wit/types"
)

const (
	readBytes = 64 * 1024
	// BlockingWriteAndFlush takes no more.
	writeBytes = 4096
)

// ErrStopping is returned when the task was asked to stop before there was an answer.
var ErrStopping = errors.New("the task is asked to stop")

// Request is what is sent.
type Request struct {
	Method string
	// URL has a scheme and a host: http://kubernetes.default.svc is the API server.
	URL string
	// Header has one value a name. Content-Length is added.
	Header map[string]string
	Body   []byte
}

// Answer is what comes back, whatever its status.
type Answer struct {
	Status int
	Body   []byte
}

// Do sends a request and waits for the whole answer, or for being asked to stop.
func Do(request Request) (Answer, error) {
	answer, err := do(request)
	if err != nil {
		return Answer{}, fmt.Errorf("%s %s: %w", request.Method, request.URL, err)
	}
	return answer, nil
}

func do(request Request) (Answer, error) {
	outgoing, err := outgoingRequest(request)
	if err != nil {
		return Answer{}, err
	}
	body := outgoing.Body()
	if body.IsErr() {
		return Answer{}, errors.New("the request has no body")
	}
	handled := wasi_http_outgoing_handler.Handle(outgoing, wit_types.None[*wasi_http_types.RequestOptions]())
	if handled.IsErr() {
		body.Ok().Drop()
		return Answer{}, inWords(handled.Err())
	}
	future := handled.Ok()
	defer future.Drop()
	if err := write(body.Ok(), request.Body); err != nil {
		return Answer{}, err
	}

	stop := leasehold_task_leadership.SubscribeStop()
	defer stop.Drop()
	ready := future.Subscribe()
	defer ready.Drop()
	wasi_io_poll.Poll([]*wasi_io_poll.Pollable{ready, stop})
	got := future.Get()
	if got.IsNone() {
		return Answer{}, ErrStopping
	}
	if got.Some().IsErr() {
		return Answer{}, errors.New("the answer was taken")
	}
	incoming := got.Some().Ok()
	if incoming.IsErr() {
		return Answer{}, inWords(incoming.Err())
	}
	response := incoming.Ok()
	defer response.Drop()
	read, err := readAll(response)
	return Answer{Status: int(response.Status()), Body: read}, err
}

func outgoingRequest(request Request) (*wasi_http_types.OutgoingRequest, error) {
	target, err := url.Parse(request.URL)
	if err != nil {
		return nil, err
	}
	if (target.Scheme != "http" && target.Scheme != "https") || target.Host == "" {
		return nil, errors.New("expected http://HOST or https://HOST")
	}
	fields := wasi_http_types.MakeFields()
	for name, value := range request.Header {
		if fields.Append(name, []byte(value)).IsErr() {
			return nil, fmt.Errorf("the header %s cannot be sent", name)
		}
	}
	if len(request.Body) > 0 {
		fields.Append("content-length", []byte(fmt.Sprint(len(request.Body))))
	}
	scheme := wasi_http_types.MakeSchemeHttp()
	if target.Scheme == "https" {
		scheme = wasi_http_types.MakeSchemeHttps()
	}
	outgoing := wasi_http_types.MakeOutgoingRequest(fields)
	for _, set := range []wit_types.Result[wit_types.Unit, wit_types.Unit]{
		outgoing.SetMethod(method(request.Method)),
		outgoing.SetScheme(wit_types.Some(scheme)),
		outgoing.SetAuthority(wit_types.Some(target.Host)),
		outgoing.SetPathWithQuery(wit_types.Some(target.RequestURI())),
	} {
		if set.IsErr() {
			return nil, errors.New("it cannot be sent")
		}
	}
	return outgoing, nil
}

func method(name string) wasi_http_types.Method {
	switch strings.ToUpper(name) {
	case "GET":
		return wasi_http_types.MakeMethodGet()
	case "HEAD":
		return wasi_http_types.MakeMethodHead()
	case "POST":
		return wasi_http_types.MakeMethodPost()
	case "PUT":
		return wasi_http_types.MakeMethodPut()
	case "DELETE":
		return wasi_http_types.MakeMethodDelete()
	case "PATCH":
		return wasi_http_types.MakeMethodPatch()
	default:
		return wasi_http_types.MakeMethodOther(name)
	}
}

func write(body *wasi_http_types.OutgoingBody, all []byte) error {
	if len(all) > 0 {
		stream := body.Write()
		if stream.IsErr() {
			return errors.New("the request has no stream")
		}
		for rest := all; len(rest) > 0; {
			piece := rest[:min(len(rest), writeBytes)]
			rest = rest[len(piece):]
			// Where the request has failed, the answer says how.
			if stream.Ok().BlockingWriteAndFlush(piece).IsErr() {
				break
			}
		}
		stream.Ok().Drop()
	}
	finished := wasi_http_types.OutgoingBodyFinish(body, wit_types.None[*wasi_http_types.Fields]())
	if finished.IsErr() {
		return inWords(finished.Err())
	}
	return nil
}

func readAll(response *wasi_http_types.IncomingResponse) ([]byte, error) {
	body := response.Consume()
	if body.IsErr() {
		return nil, errors.New("the answer has no body")
	}
	defer body.Ok().Drop()
	stream := body.Ok().Stream()
	if stream.IsErr() {
		return nil, errors.New("the answer has no stream")
	}
	defer stream.Ok().Drop()
	var all []byte
	for {
		piece := stream.Ok().BlockingRead(readBytes)
		if piece.IsOk() {
			all = append(all, piece.Ok()...)
			continue
		}
		failed := piece.Err()
		if failed.Tag() == wasi_io_streams.StreamError_Closed {
			return all, nil
		}
		why := failed.LastOperationFailed()
		defer why.Drop()
		return nil, errors.New(why.ToDebugString())
	}
}

// Those that a person meets; the others by their number in wasi:http/types, error-code.
var words = map[uint8]string{
	wasi_http_types.ErrorCode_DnsError:                "the host's name is not known",
	wasi_http_types.ErrorCode_DestinationUnavailable:  "the host cannot be reached",
	wasi_http_types.ErrorCode_DestinationIpProhibited: "the host's address is not allowed",
	wasi_http_types.ErrorCode_ConnectionRefused:       "the connection was refused",
	wasi_http_types.ErrorCode_ConnectionTerminated:    "the connection was ended",
	wasi_http_types.ErrorCode_ConnectionTimeout:       "the connection took too long",
	wasi_http_types.ErrorCode_ConnectionReadTimeout:   "the answer took too long",
	wasi_http_types.ErrorCode_TlsProtocolError:        "TLS has failed",
	wasi_http_types.ErrorCode_TlsCertificateError:     "the certificate is not trusted",
	wasi_http_types.ErrorCode_HttpRequestDenied:       "this task is not allowed to (the host's log has the rule that would)",
	wasi_http_types.ErrorCode_HttpResponseIncomplete:  "the answer was cut off",
	wasi_http_types.ErrorCode_HttpResponseTimeout:     "the answer took too long",
	wasi_http_types.ErrorCode_HttpProtocolError:       "what answers does not speak HTTP",
}

func inWords(code wasi_http_types.ErrorCode) error {
	if code.Tag() == wasi_http_types.ErrorCode_InternalError {
		return errors.New(code.InternalError().SomeOr("it has failed, without a reason"))
	}
	if text, known := words[code.Tag()]; known {
		return errors.New(text)
	}
	return fmt.Errorf("wasi:http error-code %d", code.Tag())
}
