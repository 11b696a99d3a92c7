package apiserver

import (
	"errors"
	"net/http"
	"slices"

	"github.com/tidbcdc/tidbcdc/cdc"
	"github.com/tidbcdc/tidbcdc/dispatcher"
	"github.com/tidbcdc/tidbcdc/filter"
	"github.com/tidbcdc/tidbcdc/sink"
)

// Errors of requests, which no Controller sees.
var (
	errBody            = errors.New("invalid body")
	errBodyTooLarge    = errors.New("body is too large")
	errParameter       = errors.New("invalid parameter")
	errNoCredentials   = errors.New("no credentials: send them with basic authentication")
	errUnauthorized    = errors.New("not allowed")
	errClientName      = errors.New("the client's certificate is of nobody who is allowed")
	errCrossOrigin     = errors.New("request of another web site")
	errForwarding      = errors.New("request not passed on to the owner")
	errNoSuchRoute     = errors.New("there is no such path, see /api/openapi.json")
	errMethod          = errors.New("method not allowed")
	errLogLevelUnknown = errors.New("unknown log level: want debug, info, warn, error, dpanic, panic or fatal")
)

// kind is what the API says about an error.
type kind struct {
	is     func(error) bool
	code   string // what clients branch on
	status int
}

// kinds is the only table of TiCDC's error codes. The first kind that an error is
// counts, so those that wrap others stand before them.
//
// All that a client can mend is 400: the first versions said so, later ones answer
// 500 to some of it.
var kinds = [...]kind{
	{is(errBodyTooLarge), "CDC:ErrAPIInvalidParam", http.StatusRequestEntityTooLarge},
	{is(errBody), "CDC:ErrAPIInvalidParam", http.StatusBadRequest},
	{is(errParameter), "CDC:ErrAPIInvalidParam", http.StatusBadRequest},
	{is(errLogLevelUnknown), "CDC:ErrAPIInvalidParam", http.StatusBadRequest},
	{is(errNoSuchRoute), "CDC:ErrAPIInvalidParam", http.StatusNotFound},
	{is(errMethod), "CDC:ErrAPIInvalidParam", http.StatusMethodNotAllowed},
	{is(errNoCredentials), "CDC:ErrCredentialNotFound", http.StatusUnauthorized},
	{is(errUnauthorized), "CDC:ErrUnauthorized", http.StatusUnauthorized},
	{is(errClientName), "CDC:ErrUnauthorized", http.StatusForbidden},
	{is(errCrossOrigin), "CDC:ErrUnauthorized", http.StatusForbidden},
	{is(errForwarding), "ErrRequestForwardErr", http.StatusInternalServerError}, // TiCDC, too, has no prefix here

	{is(cdc.ErrUpdateRefused), "CDC:ErrChangefeedUpdateRefused", http.StatusBadRequest},
	{is(cdc.ErrRemovalUnfinished), "CDC:ErrChangeFeedDeletionUnfinished", http.StatusInternalServerError},
	{is(cdc.ErrUnhealthy), "CDC:ErrClusterIsUnhealthy", http.StatusInternalServerError},
	{is(cdc.ErrNotReady), "CDC:ErrServerIsNotReady", http.StatusServiceUnavailable},
	{is(cdc.ErrNotOwner), "CDC:ErrOwnerNotFound", http.StatusServiceUnavailable},

	{is(cdc.ErrInvalidID), "CDC:ErrAPIInvalidParam", http.StatusBadRequest},
	{is(cdc.ErrChangefeedNotFound), "CDC:ErrChangeFeedNotExists", http.StatusBadRequest},
	{is(cdc.ErrChangefeedExists), "CDC:ErrChangeFeedAlreadyExists", http.StatusBadRequest},
	{is(cdc.ErrCaptureNotFound), "CDC:ErrCaptureNotExist", http.StatusBadRequest},
	{is(cdc.ErrScheduling), "CDC:ErrSchedulerRequestFailed", http.StatusBadRequest},

	{is(cdc.ErrGCTTLExceeded), "CDC:ErrGCTTLExceeded", http.StatusInternalServerError},
	{is(cdc.ErrSnapshotLostByGC), "CDC:ErrSnapshotLostByGC", http.StatusInternalServerError},
	{is(cdc.ErrStartTsBeforeGC), "CDC:ErrStartTsBeforeGC", http.StatusBadRequest},
	{is(cdc.ErrStartTsInFuture), "CDC:ErrAPIInvalidParam", http.StatusBadRequest},
	{is(cdc.ErrTargetTsBeforeStartTs), "CDC:ErrTargetTsBeforeStartTs", http.StatusBadRequest},
	{is(cdc.ErrInvalidTimeZone), "CDC:ErrAPIInvalidParam", http.StatusBadRequest},
	{is(cdc.ErrInvalidSpec), "CDC:ErrInvalidReplicaConfig", http.StatusBadRequest},
	{isA[*cdc.IneligibleTablesError], "CDC:ErrTableIneligible", http.StatusBadRequest},

	{is(filter.ErrUnknownColumn), "CDC:ErrExpressionColumnNotFound", http.StatusBadRequest},
	{isA[*filter.ExpressionError], "CDC:ErrInvalidFilterExpression", http.StatusBadRequest},
	{isA[*filter.EventNameError], "CDC:ErrInvalidIgnoreEventType", http.StatusBadRequest},
	{isA[*filter.RuleError], "CDC:ErrFilterRuleInvalid", http.StatusBadRequest},
	{isA[*filter.EventFilterError], "CDC:ErrFilterRuleInvalid", http.StatusBadRequest},
	{isA[*filter.IntoFilterError], "CDC:ErrSyncRenameTableFailed", http.StatusInternalServerError},

	{is(sink.ErrUnknownProtocol), "CDC:ErrSinkUnknownProtocol", http.StatusBadRequest},
	{is(sink.ErrColumnSelector), "CDC:ErrColumnSelectorFailed", http.StatusBadRequest},
	{is(sink.ErrMessageTooLarge), "CDC:ErrMessageTooLarge", http.StatusInternalServerError},
	{isA[*dispatcher.TopicError], "CDC:ErrKafkaTopicExprInvalid", http.StatusBadRequest},
	{isA[*dispatcher.TableError], "CDC:ErrDispatcherFailed", http.StatusBadRequest},
	{isParameter("mysql", "mysql+ssl", "tidb", "tidb+ssl"), "CDC:ErrMySQLInvalidConfig", http.StatusBadRequest},
	{is(sink.ErrInvalidURI), "CDC:ErrSinkURIInvalid", http.StatusBadRequest},
	{isWrite("WriteDDL", "mysql", "mysql+ssl", "tidb", "tidb+ssl"), "CDC:ErrExecDDLFailed", http.StatusInternalServerError},
	{isWrite("", "mysql", "mysql+ssl", "tidb", "tidb+ssl"), "CDC:ErrMySQLTxnError", http.StatusInternalServerError},
	{isWrite("WriteRows", "kafka", "kafka+ssl"), "CDC:ErrKafkaAsyncSendMessage", http.StatusInternalServerError},
	{isWrite("", "kafka", "kafka+ssl"), "CDC:ErrKafkaSendMessage", http.StatusInternalServerError},
	{isSink("mysql", "mysql+ssl", "tidb", "tidb+ssl"), "CDC:ErrMySQLConnectionError", http.StatusBadRequest},
	{isSink("kafka", "kafka+ssl"), "CDC:ErrKafkaNewProducer", http.StatusInternalServerError},
	{isSink("pulsar", "pulsar+ssl", "pulsar+http", "pulsar+https"), "CDC:ErrPulsarNewProducer", http.StatusInternalServerError},
	{isSink("s3", "gcs", "gs", "azblob", "azure", "file", "nfs", "local", "noop"), "CDC:ErrStorageInitialize", http.StatusInternalServerError},

	{is(cdc.ErrPDUnreachable), "CDC:ErrPDEtcdAPIError", http.StatusInternalServerError},
	{is(cdc.ErrNoProgress), "CDC:ErrChangefeedUnretryable", http.StatusInternalServerError},
}

// otherKind is every error that is not in the table.
var otherKind = kind{code: "CDC:ErrInternalServerError", status: http.StatusInternalServerError}

func is(target error) func(error) bool {
	return func(err error) bool { return errors.Is(err, target) }
}

func isA[T error](err error) bool {
	var target T
	return errors.As(err, &target)
}

// isSink is for sinks that cannot be opened.
func isSink(schemes ...string) func(error) bool {
	return func(err error) bool {
		var open *cdc.OpenSinkError
		return errors.As(err, &open) && slices.Contains(schemes, open.Scheme)
	}
}

// isWrite is for sinks of which a method failed: the one that is named, or any.
func isWrite(method string, schemes ...string) func(error) bool {
	return func(err error) bool {
		var write *sink.WriteError
		return errors.As(err, &write) && (method == "" || method == write.Method) && slices.Contains(schemes, write.Scheme)
	}
}

// isParameter is for sinks that cannot be opened because of a parameter.
func isParameter(schemes ...string) func(error) bool {
	opened := isSink(schemes...)
	return func(err error) bool { return errors.Is(err, sink.ErrInvalidParameter) && opened(err) }
}

func kindOf(err error) kind {
	for _, k := range kinds {
		if k.is(err) {
			return k
		}
	}
	return otherKind
}

// ErrorCode returns TiCDC's code for an error that a changefeed met, such as
// CDC:ErrStartTsBeforeGC, for cdc.CaptureConfig.ErrorCode.
func ErrorCode(err error) string {
	if k := kindOf(err); k.is != nil {
		return k.code
	}
	return "CDC:ErrProcessorUnknown"
}
