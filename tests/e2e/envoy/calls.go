package main

import (
	"context"
	"encoding/binary"
	"io"
	"maps"
	"net/http"
	"strings"
)

// A reply is what a client of a proxy sees.
type reply struct {
	code   int // 0: no answer
	header http.Header
	body   string
	// of gRPC, in trailers or, without a body, in headers; empty for other requests
	grpcStatus string
}

// state that breakerd rejected the request in; empty if it did not
func (r reply) rejectedBy() string {
	if r.code != http.StatusServiceUnavailable && r.grpcStatus != "14" {
		return ""
	}
	return r.header.Get("x-breakerd-state")
}

// A client of one proxy, with a connection for each request that it has in flight.
type client struct{ client http.Client }

func newClient(protocols func(*http.Protocols)) *client {
	transport := &http.Transport{MaxIdleConnsPerHost: 256, Protocols: new(http.Protocols)}
	protocols(transport.Protocols)
	return &client{http.Client{Transport: transport, Timeout: patience}}
}

func overHTTP1() *client { return newClient(func(p *http.Protocols) { p.SetHTTP1(true) }) }
func overHTTP2() *client { return newClient(func(p *http.Protocols) { p.SetUnencryptedHTTP2(true) }) }

func (c *client) send(context context.Context, method, url string, body []byte, header http.Header) reply {
	request, err := http.NewRequestWithContext(context, method, url, strings.NewReader(string(body)))
	if err != nil {
		return reply{body: err.Error()}
	}
	for name, values := range header {
		request.Header[name] = values
	}
	response, err := c.client.Do(request)
	if err != nil {
		return reply{body: err.Error()}
	}
	defer response.Body.Close()
	content, err := io.ReadAll(response.Body)
	if err != nil {
		return reply{body: err.Error()}
	}
	status := response.Trailer.Get("grpc-status")
	if status == "" {
		status = response.Header.Get("grpc-status")
	}
	return reply{response.StatusCode, response.Header, string(content), status}
}

func (c *client) get(url string) reply {
	return c.send(context.Background(), http.MethodGet, url, nil, nil)
}

// serves sends so many requests, one after the other, and each is served.
func (b *bench) serves(client *client, proxy *proxy, count int) {
	for range count {
		reply := client.get(proxy.url("/"))
		b.check(reply.code == http.StatusOK, "a request was not served: %v", reply)
	}
}

// call of a gRPC method with an empty message
func (c *client) call(url string) reply { return c.callWith(url, nil, nil) }

// callWith these headers, which may be nil, and messages
func (c *client) callWith(url string, header http.Header, messages ...[]byte) reply {
	sent := http.Header{"Content-Type": {"application/grpc"}, "Te": {"trailers"}}
	maps.Copy(sent, header)
	var frames []byte
	for _, message := range messages {
		frames = append(frames, frame(message)...)
	}
	return c.send(context.Background(), http.MethodPost, url, frames, sent)
}

// frame of a gRPC message
func frame(message []byte) []byte {
	return append(binary.BigEndian.AppendUint32([]byte{0}, uint32(len(message))), message...)
}

// field of a protobuf message, of those that have a length
func field(number int, content ...[]byte) []byte {
	length := 0
	for _, part := range content {
		length += len(part)
	}
	encoded := binary.AppendUvarint(nil, uint64(number<<3|2))
	encoded = binary.AppendUvarint(encoded, uint64(length))
	for _, part := range content {
		encoded = append(encoded, part...)
	}
	return encoded
}
