package cdctest

import (
	"context"
	"fmt"

	"github.com/pingcap/kvproto/pkg/tikvpb"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
)

// BatchCommands implements tikvpb.TikvServer: the TiKV client sends most requests
// this way. They are answered one after the other; none waits for anything.
func (s *kvServer) BatchCommands(stream tikvpb.Tikv_BatchCommandsServer) error {
	for {
		req, err := stream.Recv()
		if err != nil {
			return nil // the client has gone
		}
		resp := &tikvpb.BatchCommandsResponse{RequestIds: req.RequestIds}
		for _, r := range req.Requests {
			answer, err := s.command(stream.Context(), r)
			if err != nil {
				return err
			}
			resp.Responses = append(resp.Responses, answer)
		}
		if err := stream.Send(resp); err != nil {
			return nil
		}
	}
}

func (s *kvServer) command(ctx context.Context, req *tikvpb.BatchCommandsRequest_Request) (*tikvpb.BatchCommandsResponse_Response, error) {
	resp := &tikvpb.BatchCommandsResponse_Response{}
	var err error
	switch c := req.Cmd.(type) {
	case *tikvpb.BatchCommandsRequest_Request_Get:
		r := &tikvpb.BatchCommandsResponse_Response_Get{}
		r.Get, err = s.KvGet(ctx, c.Get)
		resp.Cmd = r
	case *tikvpb.BatchCommandsRequest_Request_BatchGet:
		r := &tikvpb.BatchCommandsResponse_Response_BatchGet{}
		r.BatchGet, err = s.KvBatchGet(ctx, c.BatchGet)
		resp.Cmd = r
	case *tikvpb.BatchCommandsRequest_Request_Scan:
		r := &tikvpb.BatchCommandsResponse_Response_Scan{}
		r.Scan, err = s.KvScan(ctx, c.Scan)
		resp.Cmd = r
	case *tikvpb.BatchCommandsRequest_Request_ScanLock:
		r := &tikvpb.BatchCommandsResponse_Response_ScanLock{}
		r.ScanLock, err = s.KvScanLock(ctx, c.ScanLock)
		resp.Cmd = r
	case *tikvpb.BatchCommandsRequest_Request_CheckTxnStatus:
		r := &tikvpb.BatchCommandsResponse_Response_CheckTxnStatus{}
		r.CheckTxnStatus, err = s.KvCheckTxnStatus(ctx, c.CheckTxnStatus)
		resp.Cmd = r
	case *tikvpb.BatchCommandsRequest_Request_CheckSecondaryLocks:
		r := &tikvpb.BatchCommandsResponse_Response_CheckSecondaryLocks{}
		r.CheckSecondaryLocks, err = s.KvCheckSecondaryLocks(ctx, c.CheckSecondaryLocks)
		resp.Cmd = r
	case *tikvpb.BatchCommandsRequest_Request_ResolveLock:
		r := &tikvpb.BatchCommandsResponse_Response_ResolveLock{}
		r.ResolveLock, err = s.KvResolveLock(ctx, c.ResolveLock)
		resp.Cmd = r
	case *tikvpb.BatchCommandsRequest_Request_GetHealthFeedback:
		r := &tikvpb.BatchCommandsResponse_Response_GetHealthFeedback{}
		r.GetHealthFeedback, err = s.GetHealthFeedback(ctx, c.GetHealthFeedback)
		resp.Cmd = r
	case *tikvpb.BatchCommandsRequest_Request_Empty:
		resp.Cmd = &tikvpb.BatchCommandsResponse_Response_Empty{Empty: &tikvpb.BatchCommandsEmptyResponse{TestId: c.Empty.GetTestId()}}
	default:
		// The client gets nothing it could misread, and the test a reason.
		err = status.Error(codes.Unimplemented, fmt.Sprintf("fake store: no command %T", req.Cmd))
	}
	return resp, err
}
