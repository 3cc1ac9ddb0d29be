package confluent

import (
	"context"
	"crypto/tls"
	"encoding/binary"
	"errors"
	"io"
	"net"
	"strings"
	"sync"
	"time"

	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kmsg"
)

const (
	// surveyTimeout bounds each of the two conversations of a survey.
	surveyTimeout = 2 * time.Second
	// surveyLimit is how large an answer may be that is believed to be Kafka's.
	surveyLimit = 1 << 20
	// bannerLimit is how much of an answer that is not Kafka's is shown.
	bannerLimit = 60
)

// door is what listens at an address, as far as one can see from outside: no login is tried, no secret is told.
type door struct {
	kafka      bool     // it answers as Kafka does
	tls        bool     // it speaks TLS
	mechanisms []string // by which it takes logins; nil: none is wanted
	clientCert bool     // it wants a certificate of the client's
	banner     string   // what it said, where that is not Kafka
}

// survey looks at what listens at an address.
func survey(ctx context.Context, addr string) door {
	var plain, secure door
	var wg sync.WaitGroup
	wg.Go(func() { plain = converse(ctx, addr, false) })
	wg.Go(func() { secure = converse(ctx, addr, true) })
	wg.Wait()
	if plain.kafka || !secure.tls && plain.banner != "" {
		return plain
	}
	return secure
}

// converse asks for the versions and the logins that are taken, with TLS or without.
func converse(ctx context.Context, addr string, withTLS bool) (d door) {
	ctx, cancel := context.WithTimeout(ctx, surveyTimeout)
	defer cancel()
	conn, err := (&net.Dialer{}).DialContext(ctx, "tcp", addr)
	if err != nil {
		return d
	}
	defer func() { _ = conn.Close() }()
	if deadline, ok := ctx.Deadline(); ok {
		_ = conn.SetDeadline(deadline)
	}
	if withTLS {
		host, _, _ := net.SplitHostPort(addr)
		asked := false
		shaken := tls.Client(conn, &tls.Config{
			ServerName:         host,
			InsecureSkipVerify: true, //nolint:gosec // whom one speaks to is of no matter: nothing but a greeting is sent
			GetClientCertificate: func(*tls.CertificateRequestInfo) (*tls.Certificate, error) {
				asked = true
				return &tls.Certificate{}, nil
			},
		})
		if err := shaken.HandshakeContext(ctx); err != nil {
			// An alert is TLS too. What is no TLS shows as a bad first record, or as the end of the connection.
			d.tls = isAlert(err)
			d.clientCert = d.tls && asked
			return d
		}
		d.tls, conn = true, shaken
		defer func() { d.clientCert = asked && !d.kafka }()
	}
	versions := kmsg.NewPtrApiVersionsRequest()
	answered, heard, _ := ask(conn, versions, versions.ResponseKind())
	if d.kafka = answered; !d.kafka {
		d.banner = banner(heard)
		return d
	}
	login := kmsg.NewPtrSASLHandshakeRequest()
	login.Version = 1
	answer := kmsg.NewPtrSASLHandshakeResponse()
	answer.Version = 1
	if answered, _, err := ask(conn, login, answer); answered && err == nil && !errors.Is(kerr.ErrorForCode(answer.ErrorCode), kerr.IllegalSaslState) {
		d.mechanisms = append([]string{}, answer.SupportedMechanisms...)
	}
	return d
}

// ask sends a request and reads its answer; heard is what came instead of one.
func ask(conn net.Conn, rq kmsg.Request, answer kmsg.Response) (answered bool, heard []byte, err error) {
	const correlation = 77
	if _, err := conn.Write(kmsg.NewRequestFormatter(kmsg.FormatterClientID("troupe")).AppendRequest(nil, rq, correlation)); err != nil {
		return false, nil, err
	}
	head := make([]byte, 8)
	n, err := io.ReadFull(conn, head)
	if err != nil {
		return false, head[:n], err
	}
	size := binary.BigEndian.Uint32(head)
	if binary.BigEndian.Uint32(head[4:]) != correlation || size < 4 || size > surveyLimit {
		more := make([]byte, 2*bannerLimit)
		n, _ := conn.Read(more)
		return false, append(head, more[:n]...), errors.New("no answer of Kafka's")
	}
	body := make([]byte, size-4)
	if _, err := io.ReadFull(conn, body); err != nil {
		return false, nil, err
	}
	return true, nil, answer.ReadFrom(body)
}

// isAlert says whether an error is one that the other side has sent by way of TLS.
func isAlert(err error) bool {
	var op *net.OpError
	_, alert := errors.AsType[tls.AlertError](err)
	return alert || errors.As(err, &op) && op.Op == "remote error"
}

// banner makes what was heard fit to be shown: its first line.
func banner(heard []byte) string {
	line, _, _ := strings.Cut(string(heard[:min(len(heard), bannerLimit)]), "\n")
	line = strings.TrimSpace(line)
	for _, r := range line {
		if r < ' ' || r > '~' {
			return ""
		}
	}
	return line
}
