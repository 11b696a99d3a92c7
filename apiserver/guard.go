package apiserver

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"net/http/httputil"
	"net/url"
	"slices"
	"strconv"
	"time"
)

// guard lets requests through that are allowed, and all that ask for health.
func (s *server) guard(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path != healthPath {
			if err := s.authorize(r); err != nil {
				s.writeError(w, r, err)
				return
			}
		}
		next.ServeHTTP(w, r)
	})
}

func (s *server) authorize(r *http.Request) error {
	if len(s.AllowedClientNames) > 0 && !slices.Contains(s.AllowedClientNames, clientName(r)) {
		return errClientName
	}
	if s.Authenticate == nil || s.OpenReads && isRead(r) {
		return nil
	}
	user, password, ok := r.BasicAuth()
	if !ok {
		return errNoCredentials
	}
	if err := s.Authenticate(r.Context(), user, password); err != nil {
		s.Logger.Warn("credentials refused", "user", user, "from", r.RemoteAddr, "error", err)
		return errUnauthorized
	}
	return nil
}

func isRead(r *http.Request) bool { return r.Method == http.MethodGet || r.Method == http.MethodHead }

// clientName returns the common name of the client's certificate, if it was verified.
func clientName(r *http.Request) string {
	if r.TLS == nil || len(r.TLS.VerifiedChains) == 0 {
		return ""
	}
	return r.TLS.VerifiedChains[0][0].Subject.CommonName
}

// Headers of requests that a capture has passed on.
const (
	forwardedFrom  = "TiCDC-ForwardFromCapture"
	forwardedTimes = "TiCDC-ForwardTimes"
	// forwardMost is how often a request is passed on. The owner may change on the way.
	forwardMost = 2
)

// atOwner answers here if this process is the owner, and otherwise passes requests on
// to it as they are. If it cannot, failed answers.
func (s *server) atOwner(here http.Handler, failed func(http.ResponseWriter, *http.Request, error)) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		owner, err := s.control.Owner(r.Context())
		if err != nil {
			failed(w, r, err)
			return
		}
		node := s.control.Node()
		if owner.ID == node.ID {
			here.ServeHTTP(w, r)
			return
		}
		times, _ := strconv.Atoi(r.Header.Get(forwardedTimes))
		if times >= forwardMost {
			failed(w, r, fmt.Errorf("%w: it was passed on %d times already", errForwarding, times))
			return
		}
		target := &url.URL{Scheme: "http", Host: owner.Address}
		if s.TLS {
			target.Scheme = "https"
		}
		proxy := &httputil.ReverseProxy{
			Transport: s.Transport,
			Rewrite: func(p *httputil.ProxyRequest) {
				p.SetURL(target)
				p.Out.Header.Set(forwardedFrom, node.ID)
				p.Out.Header.Set(forwardedTimes, strconv.Itoa(times+1))
			},
		}
		ctx, cancel := context.WithCancelCause(r.Context())
		defer cancel(nil)
		proxy.ErrorHandler = func(w http.ResponseWriter, _ *http.Request, err error) {
			if errors.Is(context.Cause(ctx), errOwnerChanged) {
				err = errOwnerChanged
			}
			failed(w, r, fmt.Errorf("%w %s: %w", errForwarding, owner.Address, err))
		}
		go s.watchOwner(ctx, owner.ID, cancel)
		proxy.ServeHTTP(w, r.WithContext(ctx))
	})
}

// errOwnerChanged ends the wait for the answer of an owner that may be dead or paused.
var errOwnerChanged = errors.New("it is not the owner any more, and has not answered; it may have done what was asked for")

// watchOwner looks from time to time whether a capture is still the owner, until ctx
// ends.
func (s *server) watchOwner(ctx context.Context, id string, changed context.CancelCauseFunc) {
	tick := time.NewTicker(time.Second)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
		}
		if owner, err := s.control.Owner(ctx); err != nil || owner.ID != id {
			changed(errOwnerChanged)
			return
		}
	}
}

// pagePatience is how long the owner may take to show its page.
const pagePatience = 5 * time.Second

// pageAtOwner shows the owner's page, which has all changefeeds, or else this
// process's own.
func (s *server) pageAtOwner() http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		ctx, cancel := context.WithTimeout(r.Context(), pagePatience)
		defer cancel()
		own := func(w http.ResponseWriter, _ *http.Request, _ error) { s.Page.ServeHTTP(w, r) }
		s.atOwner(s.Page, own).ServeHTTP(w, r.WithContext(ctx))
	})
}
