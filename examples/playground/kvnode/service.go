package kvnode

import (
	"context"
	"fmt"
	"runtime/debug"

	"github.com/pingcap/kvproto/pkg/errorpb"
	"github.com/pingcap/kvproto/pkg/kvrpcpb"
	"github.com/pingcap/log"
	"github.com/pingcap/tidb/pkg/store/mockstore/unistore/tikv"
	"go.uber.org/zap"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
)

// storeService is one store's TiKV service: the engine's, with what the engine
// does not do or does otherwise.
type storeService struct {
	*tikv.Server
	engine *engine
	store  *store
}

// recoverUnary answers UNIMPLEMENTED where the engine panics with "unimplemented".
func recoverUnary(ctx context.Context, req any, info *grpc.UnaryServerInfo, h grpc.UnaryHandler) (resp any, err error) {
	defer func() {
		if r := recover(); r != nil {
			log.Error("rpc panicked", zap.String("method", info.FullMethod), zap.Any("panic", r), zap.ByteString("stack", debug.Stack()))
			err = status.Error(codes.Unimplemented, fmt.Sprint(r))
		}
	}()
	return h(ctx, req)
}

// checkContext finds the region error of a request, as the engine does.
func (s *storeService) checkContext(ctx *kvrpcpb.Context) *errorpb.Error {
	if _, e := s.store.cluster.regions.GetRegionFromCtx(ctx); e != nil {
		return e
	}
	_, _, e := s.store.cluster.regions.GetStoreInfoFromCtx(ctx)
	return e
}

// KvPrewrite holds the resolved ts and snapshot reads back while the engine chooses a
// commit ts.
func (s *storeService) KvPrewrite(ctx context.Context, req *kvrpcpb.PrewriteRequest) (*kvrpcpb.PrewriteResponse, error) {
	if req.UseAsyncCommit || req.TryOnePc {
		seq := s.store.cluster.hub.enterPrewrite(req.StartVersion)
		defer s.store.cluster.hub.leavePrewrite(seq)
		s.engine.committing.RLock()
		defer s.engine.committing.RUnlock()
	}
	return s.Server.KvPrewrite(ctx, req)
}

// UnsafeDestroyRange deletes the keys: the engine drops whole files only.
func (s *storeService) UnsafeDestroyRange(_ context.Context, req *kvrpcpb.UnsafeDestroyRangeRequest) (*kvrpcpb.UnsafeDestroyRangeResponse, error) {
	resp := &kvrpcpb.UnsafeDestroyRangeResponse{}
	if !s.engine.enter() {
		return nil, errEngineClosed
	}
	defer s.engine.leave()
	if err := s.engine.writer.DeleteRange(req.StartKey, req.EndKey, &region{latchTab: s.store.cluster.regions.latches}); err != nil {
		resp.Error = err.Error()
	}
	return resp, nil
}

// GetLockWaitInfo answers that nobody waits; the engine panics.
func (s *storeService) GetLockWaitInfo(context.Context, *kvrpcpb.GetLockWaitInfoRequest) (*kvrpcpb.GetLockWaitInfoResponse, error) {
	return &kvrpcpb.GetLockWaitInfoResponse{}, nil
}

// GetHealthFeedback answers that all is well.
func (s *storeService) GetHealthFeedback(context.Context, *kvrpcpb.GetHealthFeedbackRequest) (*kvrpcpb.GetHealthFeedbackResponse, error) {
	return &kvrpcpb.GetHealthFeedbackResponse{}, nil
}
