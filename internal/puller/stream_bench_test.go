package puller_test

import (
	"bufio"
	"fmt"
	"io"
	"net"
	"os"
	"os/exec"
	"strings"
	"sync/atomic"
	"testing"

	"github.com/pingcap/kvproto/pkg/cdcpb"
	"google.golang.org/grpc"
	"google.golang.org/grpc/mem"

	"github.com/tidbcdc/tidbcdc/cdc/event"
	"github.com/tidbcdc/tidbcdc/internal/puller"
	"github.com/tidbcdc/tidbcdc/internal/rawkv"
)

// streamKinds are the messages that BenchmarkStream receives. A scan comes in
// full events; live rows in smaller ones, of which a busy store sends many in a
// message.
var streamKinds = []struct {
	name             string
	live             bool
	events, perEvent int
}{
	{"scan", false, 16, 130},
	{"live", true, 32, 64},
	{"live-single", true, 64, 1},
}

// BenchmarkStream receives from a store in another process, over the loopback
// interface, as fast as it can. An op is a row; cpu-ns is the CPU time of this
// process, gRPC and collector included. Times and allocations of a row that comes
// as PREWRITE and COMMIT are for both.
func BenchmarkStream(b *testing.B) {
	for _, kind := range streamKinds {
		b.Run(kind.name, func(b *testing.B) {
			c := newCluster(b, clusterOptions{})
			c.mock.UpdateStoreAddr(c.ids[0], startStreamServer(b, kind.name))
			client := c.start(nil)
			out := &counter{}
			warm := out.wait(20000)
			sub := client.Subscribe(event.TableSpan(104), 5, out)
			<-warm
			b.ReportAllocs()
			const wireBytes = 247 // of a COMMITTED row
			b.SetBytes(wireBytes)
			b.ResetTimer()
			cpu := puller.CPUTime()
			<-out.wait(out.rows.Load() + int64(b.N))
			b.StopTimer()
			cpu = puller.CPUTime() - cpu
			sub.Close()
			b.ReportMetric(float64(b.N)/b.Elapsed().Seconds(), "rows/s")
			b.ReportMetric(float64(cpu.Nanoseconds())/float64(b.N), "cpu-ns/row")
		})
	}
}

// counter is a Receiver that counts rows.
type counter struct {
	rows   atomic.Int64
	target atomic.Pointer[countTarget]
}

type countTarget struct {
	rows    int64
	reached chan struct{}
}

// wait returns a channel that is closed when so many rows have come.
func (c *counter) wait(rows int64) <-chan struct{} {
	t := &countTarget{rows: rows, reached: make(chan struct{})}
	c.target.Store(t)
	return t.reached
}

func (c *counter) Receive(kvs []rawkv.Entry) {
	n := c.rows.Add(int64(len(kvs)))
	if t := c.target.Load(); t != nil && n >= t.rows && c.target.CompareAndSwap(t, nil) {
		close(t.reached)
	}
}
func (c *counter) Resolve(event.Ts) {}
func (c *counter) Fail(error)       {}

// streamServerEnv makes the test program a store that sends messages of a kind.
const streamServerEnv = "PULLER_STREAM_SERVER"

// startStreamServer runs the test program as a store and returns its address.
func startStreamServer(b *testing.B, kind string) string {
	b.Helper()
	cmd := exec.Command(os.Args[0])
	cmd.Env = append(os.Environ(), streamServerEnv+"="+kind)
	cmd.Stderr = os.Stderr
	stdin, err := cmd.StdinPipe()
	if err != nil {
		b.Fatal(err)
	}
	stdout, err := cmd.StdoutPipe()
	if err != nil {
		b.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		b.Fatal(err)
	}
	b.Cleanup(func() {
		stdin.Close()
		if err := cmd.Wait(); err != nil {
			b.Error(err)
		}
	})
	addr, err := bufio.NewReader(stdout).ReadString('\n')
	if err != nil {
		b.Fatal(err)
	}
	return strings.TrimSpace(addr)
}

// serveStream is the store: it answers every registration with endless messages
// of a kind, until standard input is closed.
func serveStream(kind string) error {
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return err
	}
	server := grpc.NewServer(grpc.ForceServerCodecV2(rawCodec{}), grpc.UnknownServiceHandler(
		func(_ any, stream grpc.ServerStream) error { return sendEndlessly(kind, stream) }))
	fmt.Println(listener.Addr())
	go func() {
		_, _ = io.Copy(io.Discard, os.Stdin)
		server.Stop()
	}()
	return server.Serve(listener)
}

func sendEndlessly(name string, stream grpc.ServerStream) error {
	var req cdcpb.ChangeDataRequest
	if err := stream.RecvMsg(&req); err != nil {
		return err
	}
	for _, kind := range streamKinds {
		if kind.name != name {
			continue
		}
		first := &cdcpb.ChangeDataEvent{}
		if kind.live {
			first.Events = []*cdcpb.Event{{Event: &cdcpb.Event_Entries_{Entries: &cdcpb.Event_Entries{
				Entries: []*cdcpb.Event_Row{{Type: cdcpb.Event_INITIALIZED}},
			}}}}
		}
		again := puller.NarrowMessage(puller.NarrowRows(&testing.B{}), kind.live, kind.events, kind.perEvent)
		var wire [2][]byte
		for i, msg := range []*cdcpb.ChangeDataEvent{first, again} {
			for _, e := range msg.Events {
				e.RegionId, e.RequestId = req.RegionId, req.RequestId
			}
			var err error
			if wire[i], err = msg.Marshal(); err != nil {
				return err
			}
		}
		for err := stream.SendMsg(wire[0]); err == nil; {
			err = stream.SendMsg(wire[1])
		}
	}
	return nil
}

// rawCodec sends bytes as they are.
type rawCodec struct{}

func (rawCodec) Name() string { return "raw" }

func (rawCodec) Marshal(v any) (mem.BufferSlice, error) {
	return mem.BufferSlice{mem.SliceBuffer(v.([]byte))}, nil
}

func (rawCodec) Unmarshal(data mem.BufferSlice, v any) error {
	return v.(*cdcpb.ChangeDataRequest).Unmarshal(data.Materialize())
}
