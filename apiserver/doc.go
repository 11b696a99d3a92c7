// Package apiserver serves TiCDC's HTTP API, version 1, over a Controller, such as a
// cdc.Capture.
//
//	handler := apiserver.New(capture, apiserver.Options{})
//	server := &http.Server{
//		Addr: "127.0.0.1:8300", Handler: handler,
//		ReadHeaderTimeout: 5 * time.Second, IdleTimeout: 2 * time.Minute, MaxHeaderBytes: 64 << 10,
//	}
//
// Bodies are bounded by the handler. A WriteTimeout should leave time for removing a
// changefeed, which waits for writes that have begun, and for creating one, which
// opens its sink: a minute or more.
//
// # Access
//
// Whoever reaches the API can send the changes of the whole cluster anywhere, and
// reads what sinks answer. Bind it to 127.0.0.1, or serve it with TLS and client
// certificates (tls.RequireAndVerifyClientCert, Options.AllowedClientNames), or set
// Options.Authenticate. All of it is guarded, except for /api/v1/health and, with
// Options.OpenReads, for what only reads. Browsers' requests from other sites are
// refused.
//
// # Where versions of TiCDC differ
//
// The documented fields come first and in their order; those that later versions
// have added follow. The state "error" of early versions stands for warning and
// pending. A body is JSON whatever its Content-Type says, unknown fields are
// ignored, and the misprints of the documentation are understood: protocal in
// sink_config, target_capture_id besides capture_id.
package apiserver
