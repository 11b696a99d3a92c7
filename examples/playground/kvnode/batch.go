package kvnode

import (
	"context"
	"errors"
	"fmt"
	"io"
	"runtime/debug"

	"github.com/pingcap/kvproto/pkg/tikvpb"
	"github.com/pingcap/log"
	"go.uber.org/zap"
)

// batchResponses bounds the answers of one stream that wait to be sent.
const batchResponses = 1024

// BatchCommands runs the commands of a batch side by side. The engine's own
// would bypass this service, and answers nothing to several commands.
func (s *storeService) BatchCommands(stream tikvpb.Tikv_BatchCommandsServer) error {
	type answer struct {
		id   uint64
		resp *tikvpb.BatchCommandsResponse_Response
	}
	ctx := stream.Context()
	answers := make(chan answer, batchResponses)
	received := make(chan error, 1)
	go func() { // ends with the stream
		for {
			req, err := stream.Recv()
			if err != nil {
				received <- err
				return
			}
			for i, cmd := range req.Requests {
				id := req.RequestIds[i]
				go func() {
					resp := s.run(ctx, cmd)
					select {
					case answers <- answer{id, resp}:
					case <-ctx.Done():
					}
				}()
			}
		}
	}()
	for {
		out := &tikvpb.BatchCommandsResponse{}
		add := func(a answer) {
			out.Responses = append(out.Responses, a.resp)
			out.RequestIds = append(out.RequestIds, a.id)
		}
		select {
		case err := <-received:
			if errors.Is(err, io.EOF) {
				return nil
			}
			return err
		case a := <-answers:
			add(a)
		}
		for range len(answers) {
			add(<-answers)
		}
		if err := stream.Send(out); err != nil {
			return err
		}
	}
}

// run runs one command. A failed or unknown command gets an empty answer, which
// the client takes for an error of the request.
func (s *storeService) run(ctx context.Context, req *tikvpb.BatchCommandsRequest_Request) (out *tikvpb.BatchCommandsResponse_Response) {
	out = &tikvpb.BatchCommandsResponse_Response{}
	var err error
	defer func() {
		if r := recover(); r != nil {
			err = fmt.Errorf("panic: %v\n%s", r, debug.Stack())
		}
		if err != nil {
			log.Error("batch command", zap.String("type", fmt.Sprintf("%T", req.Cmd)), zap.Error(err))
		}
	}()
	switch c := req.Cmd.(type) {
	case *tikvpb.BatchCommandsRequest_Request_Get:
		r := &tikvpb.BatchCommandsResponse_Response_Get{}
		r.Get, err = s.KvGet(ctx, c.Get)
		out.Cmd = r
	case *tikvpb.BatchCommandsRequest_Request_BatchGet:
		r := &tikvpb.BatchCommandsResponse_Response_BatchGet{}
		r.BatchGet, err = s.KvBatchGet(ctx, c.BatchGet)
		out.Cmd = r
	case *tikvpb.BatchCommandsRequest_Request_Scan:
		r := &tikvpb.BatchCommandsResponse_Response_Scan{}
		r.Scan, err = s.KvScan(ctx, c.Scan)
		out.Cmd = r
	case *tikvpb.BatchCommandsRequest_Request_Coprocessor:
		r := &tikvpb.BatchCommandsResponse_Response_Coprocessor{}
		r.Coprocessor, err = s.Coprocessor(ctx, c.Coprocessor)
		out.Cmd = r
	case *tikvpb.BatchCommandsRequest_Request_Prewrite:
		r := &tikvpb.BatchCommandsResponse_Response_Prewrite{}
		r.Prewrite, err = s.KvPrewrite(ctx, c.Prewrite)
		out.Cmd = r
	case *tikvpb.BatchCommandsRequest_Request_Commit:
		r := &tikvpb.BatchCommandsResponse_Response_Commit{}
		r.Commit, err = s.KvCommit(ctx, c.Commit)
		out.Cmd = r
	case *tikvpb.BatchCommandsRequest_Request_Cleanup:
		r := &tikvpb.BatchCommandsResponse_Response_Cleanup{}
		r.Cleanup, err = s.KvCleanup(ctx, c.Cleanup)
		out.Cmd = r
	case *tikvpb.BatchCommandsRequest_Request_BatchRollback:
		r := &tikvpb.BatchCommandsResponse_Response_BatchRollback{}
		r.BatchRollback, err = s.KvBatchRollback(ctx, c.BatchRollback)
		out.Cmd = r
	case *tikvpb.BatchCommandsRequest_Request_PessimisticLock:
		r := &tikvpb.BatchCommandsResponse_Response_PessimisticLock{}
		r.PessimisticLock, err = s.KvPessimisticLock(ctx, c.PessimisticLock)
		out.Cmd = r
	case *tikvpb.BatchCommandsRequest_Request_PessimisticRollback:
		r := &tikvpb.BatchCommandsResponse_Response_PessimisticRollback{}
		r.PessimisticRollback, err = s.KVPessimisticRollback(ctx, c.PessimisticRollback)
		out.Cmd = r
	case *tikvpb.BatchCommandsRequest_Request_TxnHeartBeat:
		r := &tikvpb.BatchCommandsResponse_Response_TxnHeartBeat{}
		r.TxnHeartBeat, err = s.KvTxnHeartBeat(ctx, c.TxnHeartBeat)
		out.Cmd = r
	case *tikvpb.BatchCommandsRequest_Request_CheckTxnStatus:
		r := &tikvpb.BatchCommandsResponse_Response_CheckTxnStatus{}
		r.CheckTxnStatus, err = s.KvCheckTxnStatus(ctx, c.CheckTxnStatus)
		out.Cmd = r
	case *tikvpb.BatchCommandsRequest_Request_CheckSecondaryLocks:
		r := &tikvpb.BatchCommandsResponse_Response_CheckSecondaryLocks{}
		r.CheckSecondaryLocks, err = s.KvCheckSecondaryLocks(ctx, c.CheckSecondaryLocks)
		out.Cmd = r
	case *tikvpb.BatchCommandsRequest_Request_ScanLock:
		r := &tikvpb.BatchCommandsResponse_Response_ScanLock{}
		r.ScanLock, err = s.KvScanLock(ctx, c.ScanLock)
		out.Cmd = r
	case *tikvpb.BatchCommandsRequest_Request_ResolveLock:
		r := &tikvpb.BatchCommandsResponse_Response_ResolveLock{}
		r.ResolveLock, err = s.KvResolveLock(ctx, c.ResolveLock)
		out.Cmd = r
	case *tikvpb.BatchCommandsRequest_Request_GC:
		r := &tikvpb.BatchCommandsResponse_Response_GC{}
		r.GC, err = s.KvGC(ctx, c.GC)
		out.Cmd = r
	case *tikvpb.BatchCommandsRequest_Request_DeleteRange:
		r := &tikvpb.BatchCommandsResponse_Response_DeleteRange{}
		r.DeleteRange, err = s.KvDeleteRange(ctx, c.DeleteRange)
		out.Cmd = r
	case *tikvpb.BatchCommandsRequest_Request_Flush:
		r := &tikvpb.BatchCommandsResponse_Response_Flush{}
		r.Flush, err = s.KvFlush(ctx, c.Flush)
		out.Cmd = r
	case *tikvpb.BatchCommandsRequest_Request_BufferBatchGet:
		r := &tikvpb.BatchCommandsResponse_Response_BufferBatchGet{}
		r.BufferBatchGet, err = s.KvBufferBatchGet(ctx, c.BufferBatchGet)
		out.Cmd = r
	case *tikvpb.BatchCommandsRequest_Request_GetHealthFeedback:
		r := &tikvpb.BatchCommandsResponse_Response_GetHealthFeedback{}
		r.GetHealthFeedback, err = s.GetHealthFeedback(ctx, c.GetHealthFeedback)
		out.Cmd = r
	case *tikvpb.BatchCommandsRequest_Request_Empty:
		out.Cmd = &tikvpb.BatchCommandsResponse_Response_Empty{Empty: &tikvpb.BatchCommandsEmptyResponse{TestId: c.Empty.TestId}}
	default:
		err = errors.New("unknown command")
	}
	return out
}
