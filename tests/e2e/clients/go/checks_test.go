// Puts the Guard of the document to the test: says "ok - NAME" or "not ok - NAME: WHY" of what its caller sees.
package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"strings"
	"testing"
	"time"

	"google.golang.org/genproto/googleapis/rpc/errdetails"
	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/grpc/status"

	pb "example.org/shop/gen/breakerd/v1"
)

// Only a hang takes so long.
const hang = time.Minute

var errTrouble = errors.New("out of order")

func check(t *testing.T, name string, holds bool, why any) {
	if holds {
		fmt.Printf("ok - %s\n", name)
		return
	}
	fmt.Printf("not ok - %s: %v\n", name, why)
	t.Fail()
}

func plain() grpc.DialOption { return grpc.WithTransportCredentials(insecure.NewCredentials()) }

func guardAt(address string) Guard {
	guard, err := NewGuard(address, plain())
	if err != nil {
		panic(err)
	}
	return guard
}

func succeed(context.Context) error { return nil }

func fail(context.Context) error { return errTrouble }

func TestTheDocument(t *testing.T) {
	ctx, cancel := context.WithTimeout(context.Background(), hang)
	defer cancel()
	guard := guardAt(os.Getenv("E2E_PLAIN"))
	err := guard.Ready(ctx)
	check(t, "Ready says yes", err == nil, err)
	outcomes(ctx, t, guard)
	opening(ctx, t, guard)
	withoutBreakerd(ctx, t, "gone", os.Getenv("E2E_GONE"))
	withoutBreakerd(ctx, t, "silent", os.Getenv("E2E_SILENT"))

	secured, err := connect()
	if err == nil {
		err = secured.Call(ctx, "go.tls", succeed)
	}
	check(t, "over TLS with a token the call is made", err == nil, err)
	details(ctx, t)
}

func outcomes(ctx context.Context, t *testing.T, guard Guard) {
	err := guard.Call(ctx, "go.success", succeed)
	check(t, "a call without an error has none for the caller", err == nil, err)
	err = guard.Call(ctx, "go.failure", fail)
	check(t, "a call's error reaches the caller", errors.Is(err, errTrouble), err)

	cancelled, cancel := context.WithCancel(ctx)
	err = guard.Call(cancelled, "go.cancelled", func(ctx context.Context) error {
		cancel()
		<-ctx.Done()
		return ctx.Err()
	})
	check(t, "a cancellation reaches the caller", errors.Is(err, context.Canceled), err)

	var caught any
	func() {
		defer func() { caught = recover() }()
		_ = guard.Call(ctx, "go.panic", func(context.Context) error { panic("out of order") })
	}()
	check(t, "a panic reaches the caller", caught == "out of order", caught)
}

func opening(ctx context.Context, t *testing.T, guard Guard) {
	for range 5 {
		_ = guard.Call(ctx, "go.opens", fail)
	}
	made := false
	err := guard.Call(ctx, "go.opens", func(context.Context) error {
		made = true
		return nil
	})
	check(t, "an open breaker is ErrDenied", errors.Is(err, ErrDenied), err)
	check(t, "what an open breaker denies is not called", !made, "it was")
}

func withoutBreakerd(ctx context.Context, t *testing.T, what, address string) {
	guard := guardAt(address)
	made := false
	begun := time.Now()
	err := guard.Call(ctx, "go."+what, func(context.Context) error {
		made = true
		return nil
	})
	took := time.Since(begun)
	check(t, "with breakerd "+what+" the call goes ahead", err == nil && made && took < hang, fmt.Sprint(err, made, took))
	ctx, cancel := context.WithTimeout(ctx, 100*time.Millisecond)
	defer cancel()
	check(t, "with breakerd "+what+" Ready says no", guard.Ready(ctx) != nil, "it said yes")
}

// document: TLS and tokens

func details(ctx context.Context, t *testing.T) {
	connection, err := grpc.NewClient(os.Getenv("E2E_PLAIN"), plain())
	if err != nil {
		panic(err)
	}
	rate := 120.0
	wrong := &pb.UpdateConfigRequest{Service: "go.errors", Thresholds: &pb.Thresholds{FailureRateThreshold: &rate}}
	_, err = pb.NewConfigServiceClient(connection).UpdateConfig(ctx, wrong)
	said := printed(func() {
		// document: Errors
	})
	check(t, "the details of an error name the field", strings.Contains(said, "failure_rate_threshold"), said)
}

// printed is what a function writes to the standard output.
func printed(write func()) string {
	file, err := os.CreateTemp("", "")
	if err != nil {
		panic(err)
	}
	defer os.Remove(file.Name())
	stdout := os.Stdout
	os.Stdout = file
	write()
	os.Stdout = stdout
	said, err := os.ReadFile(file.Name())
	if err != nil {
		panic(err)
	}
	return string(said)
}
