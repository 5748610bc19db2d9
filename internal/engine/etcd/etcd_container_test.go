package etcd

import (
	"bytes"
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/sha256"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/json"
	"encoding/pem"
	"errors"
	"fmt"
	"io"
	"math/big"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/baktainer/baktainer/internal/engine"
	"github.com/baktainer/baktainer/internal/engine/enginetest"
	"github.com/baktainer/baktainer/internal/engine/enginetest/dockercli"
	"github.com/baktainer/baktainer/internal/problem"
	"github.com/baktainer/baktainer/internal/source"
)

const password = `correct:horse 'battery' $taple`

// server is a container with etcd and how to talk to it.
type server struct {
	*dockercli.Instance
	env []string
}

func startServer(t testing.TB, name string, env []string, args ...string) server {
	t.Helper()
	s := server{dockercli.Start(t, name, "etcd", env, args...), []string{"ETCDCTL_API=3"}}
	if len(env) > 0 {
		s.env = append(s.env, "ETCDCTL_USER=root", "ETCDCTL_PASSWORD="+password)
	}
	return s
}

func (s server) ready(t testing.TB) server {
	t.Helper()
	s.Ready(t, s.env, tool, "get", "a")
	return s
}

func (s server) cli(t testing.TB, input string, args ...string) string {
	t.Helper()
	return s.Run(t, input, s.env, append([]string{tool}, args...)...)
}

// put puts pairs, by the means that etcdctl itself has.
func (s server) put(t testing.TB, pairs ...string) {
	t.Helper()
	const atOnce = 128
	for len(pairs) > 0 {
		var text strings.Builder
		n := min(len(pairs), 2*atOnce)
		for i := 0; i < n; i += 2 {
			fmt.Fprintf(&text, "put -- %q %q\n", pairs[i], pairs[i+1])
		}
		s.cli(t, "\n"+text.String()+"\n\n", "txn")
		pairs = pairs[n:]
	}
}

// hostile are keys and values that something might take for something else.
var hostile = []string{
	"\x00", "zero key", "\x00\x00\xff", "\x00", "zero/\x00/key\n", "a\x00b\nc\r\n\x01\x7f", "-", "-", "--", "--prefix", "--lease=1", "--",
	"\"quoted\"/'both' \\", "\"'\\\" \\x41 `", "\n\n\n", "\n\n", " ", " ", "# end of 2 keys", "\n# end of 2 keys\n", "put -- \"a\" \"b\"", "\nput -- \"a\" \"c\"\n",
	"größe/東京/🦆", "Zoë\u00a0\u2028\ufeff\ufffd", "invalid/\xff\xfe\x80", "\xc3\x28\xf0\x9f", "empty/", "", "/registry/pods/default/a", "k8s\x00\n\t\x12", "%s%d%n/%", "%", "$HOME/`id`/$(id)", "'; rm -rf /; #",
}

func (s server) seed(t testing.TB) {
	s.put(t, hostile...)
	var pairs []string
	for i := range 600 {
		pairs = append(pairs, fmt.Sprintf("/app/config/%04d", i), fmt.Sprintf(`{"n": %d, "text": "%s"}`, i, strings.Repeat("ü", i%50)))
	}
	s.put(t, pairs...)
	s.cli(t, strings.Repeat("\x00\xff\n"+strings.Repeat("x", 47), 28_000), "put", "large/value") // 1.4 of 1.5 MiB
	s.put(t, "!"+strings.Repeat("long", 50_000), "a long key")
	for _, ttl := range []string{"7000", "90000"} {
		id, _, err := parseLease(s.cli(t, "", "lease", "grant", ttl))
		if err != nil {
			t.Fatal(err)
		}
		s.cli(t, fmt.Sprintf("\nput --lease=%x -- \"/app/leased/%s\" \"\\x00\"\nput --lease=%x -- \"leased alone %s\" \"\"\n\n\n", id, ttl, id, ttl), "txn")
	}
}

// fingerprint hashes keys, values and granted times to live, as etcdctl tells them in JSON.
func (s server) fingerprint(t testing.TB) string {
	t.Helper()
	var all struct {
		Kvs []struct {
			Key, Value []byte
			Lease      int64
		}
	}
	if err := json.Unmarshal([]byte(s.cli(t, "", "get", "--prefix", "-w", "json", "")), &all); err != nil {
		t.Fatal(err)
	}
	times := map[int64]int64{}
	sum := sha256.New()
	for _, kv := range all.Kvs {
		if kv.Lease != 0 && times[kv.Lease] == 0 {
			_, ttl, err := parseLease(s.cli(t, "", "lease", "timetolive", fmt.Sprintf("%x", kv.Lease)))
			if err != nil {
				t.Fatal(err)
			}
			times[kv.Lease] = ttl
		}
		fmt.Fprintf(sum, "%q %q %d\n", kv.Key, kv.Value, times[kv.Lease])
	}
	return fmt.Sprintf("%d keys %x", len(all.Kvs), sum.Sum(nil))
}

func (s server) wreck(t testing.TB) { s.cli(t, "", "del", "--prefix", "") }

func TestContainer(t *testing.T) {
	dockercli.Need(t)
	s := startServer(t, "etcd", []string{"ETCD_ROOT_PASSWORD=" + password}).ready(t)
	enginetest.Run(t, enginetest.Fixture{
		Engine: New(), Instance: s.Instance, Secrets: []string{password}, KeepsHalf: true,
		Seed: s.seed,
		Bulk: func(t testing.TB) {
			for i := range 17 {
				s.cli(t, strings.Repeat("\x00", 1_000_000), "put", "bulk/"+strconv.Itoa(i))
			}
		},
		Fingerprint: s.fingerprint,
		Wreck:       s.wreck,
		WrongPassword: func(testing.TB) (engine.Instance, source.Spec) {
			return s.Instance, source.Spec{Password: "wrong-guess"}
		},
	})
}

func open(t testing.TB, s server, spec source.Spec) engine.Session {
	t.Helper()
	session, err := New().Open(t.Context(), s.Instance, spec)
	if err != nil {
		t.Fatal(problem.Text(err))
	}
	return session
}

// dumpOf is one whole dump, checked. begun is called when some of it is there.
func dumpOf(t testing.TB, s server, begun func()) ([]byte, engine.Contents, error) {
	t.Helper()
	session := open(t, s, source.Spec{})
	p, err := session.Dump(t.Context(), engine.Stream{})
	if err != nil {
		t.Fatal(err)
	}
	var data bytes.Buffer
	inspector := session.Inspect(engine.Stream{})
	all := io.MultiWriter(&data, inspector)
	_, err = io.CopyN(all, p, 100)
	if begun != nil {
		begun()
	}
	if err == nil {
		_, err = io.Copy(all, p)
	}
	exit, waitErr := p.Wait()
	contents, badContent := inspector.Finish()
	if exit.Status != 0 {
		waitErr = session.Explain(exit)
	}
	if waitErr != nil {
		return nil, contents, waitErr
	}
	return data.Bytes(), contents, errors.Join(err, badContent)
}

// A server without authentication and with small transactions; a password that
// only happens to be there does no harm.
func TestContainerOpen(t *testing.T) {
	dockercli.Need(t)
	s := startServer(t, "etcd-open", nil, "--max-txn-ops=3", "--max-request-bytes", "2000", "--listen-client-urls=http://0.0.0.0:23456", "--advertise-client-urls=http://127.0.0.1:23456")
	s.env = append(s.env, "ETCDCTL_ENDPOINTS=127.0.0.1:23456")
	s.ready(t)
	var pairs []string
	for i := range 9 {
		pairs = append(pairs, fmt.Sprint("k", i), strings.Repeat("v", 100*i))
	}
	s.put(t, pairs[:6]...)
	s.put(t, pairs[6:12]...)
	s.put(t, pairs[12:16]...)
	s.put(t, pairs[16:]...)
	full := s.fingerprint(t)
	data, contents, err := dumpOf(t, s, nil)
	if err != nil || fmt.Sprint(contents.Objects) != "[{prefix (other keys) 9 []}]" {
		t.Fatal(contents, err)
	}
	s.put(t, "stray", "x")
	session := open(t, s, source.Spec{Password: "unused"})
	stream := engine.Stream{Format: format}
	if err := session.Restore(t.Context(), stream, bytes.NewReader(data), engine.RestoreOptions{Overwrite: true}); err != nil {
		t.Fatal(problem.Text(err))
	}
	if got := s.fingerprint(t); got != full {
		t.Errorf("%s, want %s", got, full)
	}
	answer, err := session.(engine.Asker).Ask(t.Context(), "", "get --print-value-only k1")
	if err != nil || strings.TrimSpace(answer) != strings.Repeat("v", 100) {
		t.Errorf("%q %v", answer, err)
	}
}

// While a client writes pairs of keys in transactions, a dump of several pages
// holds the same of both keys; and when the revision goes, so does the dump.
func TestContainerDumpUnderWrites(t *testing.T) {
	dockercli.Need(t)
	s := startServer(t, "etcd-writes", nil).ready(t)
	pairs := []string{"a", "0", "z", "0"}
	for i := range 300 {
		pairs = append(pairs, fmt.Sprint("m", i), strings.Repeat("x", 1000))
	}
	s.put(t, pairs...)
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan struct{})
	go func() {
		defer close(done)
		for i := 1; ctx.Err() == nil; i++ {
			text := fmt.Sprintf("\nput a \"%d\"\nput z \"%d\"\n\n\n", i, i)
			_, _, _ = engine.Output(ctx, s, engine.Command{Argv: []string{tool, "txn"}, Env: s.env, Stdin: strings.NewReader(text)}, 1<<10)
		}
	}()
	before := s.cli(t, "", "get", "a")
	for range 2 {
		data, _, err := dumpOf(t, s, nil)
		if err != nil {
			t.Fatal(problem.Text(err))
		}
		var values []string
		for line := range strings.Lines(string(data)) {
			if strings.HasPrefix(line, `put -- "a" `) || strings.HasPrefix(line, `put -- "z" `) {
				values = append(values, line[len(`put -- "a" `):])
			}
		}
		if len(values) != 2 || values[0] != values[1] {
			t.Errorf("a and z: %q", values)
		}
	}
	cancel()
	<-done
	if after := s.cli(t, "", "get", "a"); after == before {
		t.Error("the writer wrote nothing while the server was dumped")
	}
	_, _, err := dumpOf(t, s, func() {
		s.put(t, "one", "more")
		var answer struct{ Header struct{ Revision int64 } }
		if err := json.Unmarshal([]byte(s.cli(t, "", "get", "-w", "json", "a")), &answer); err != nil {
			t.Error(err)
		}
		s.cli(t, "", "compaction", fmt.Sprint(answer.Header.Revision))
	})
	t.Log(problem.Text(err))
	if problem.ReasonOf(err) != engine.ReasonToolFailed || !strings.Contains(problem.Text(err), "--auto-compaction-retention") {
		t.Errorf("after a compaction: %v", err)
	}
}

// A server that wants TLS and a certificate is reached with its own.
func TestContainerTLS(t *testing.T) {
	dockercli.Need(t)
	s := startServer(t, "etcd-tls", nil, "sh", "-c", "until [ -e /data/ready ]; do sleep 0.1; done; exec etcd --listen-client-urls=https://0.0.0.0:2379 "+
		"--advertise-client-urls=https://etcd:2379 --client-cert-auth --trusted-ca-file /data/cert.pem --cert-file=/data/cert.pem --key-file=/data/key.pem")
	cert, key := certificate(t)
	for _, file := range [][2]string{{"cert.pem", cert}, {"key.pem", key}, {"ready", ""}} {
		s.Run(t, file[1], nil, "tee", "/data/"+file[0])
	}
	s.env = append(s.env, "ETCDCTL_ENDPOINTS=https://127.0.0.1:2379", "ETCDCTL_CACERT=/data/cert.pem", "ETCDCTL_CERT=/data/cert.pem", "ETCDCTL_KEY=/data/key.pem", "ETCDCTL_INSECURE_SKIP_TLS_VERIFY=true")
	s.ready(t).put(t, "/a/b", strings.Repeat("c", 100))
	_, contents, err := dumpOf(t, s, nil)
	if err != nil || len(contents.Objects) != 1 {
		t.Error(contents, err)
	}
}

// certificate makes one that is its own authority, for a name of no use inside the container.
func certificate(t testing.TB) (cert, key string) {
	t.Helper()
	private, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	year := time.Date(2020, 1, 1, 0, 0, 0, 0, time.UTC)
	about := &x509.Certificate{
		SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "etcd"}, DNSNames: []string{"etcd"},
		NotBefore: year, NotAfter: year.AddDate(50, 0, 0), IsCA: true, BasicConstraintsValid: true,
		KeyUsage:    x509.KeyUsageDigitalSignature | x509.KeyUsageCertSign,
		ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth, x509.ExtKeyUsageClientAuth},
	}
	signed, err := x509.CreateCertificate(rand.Reader, about, about, &private.PublicKey, private)
	if err != nil {
		t.Fatal(err)
	}
	secret, err := x509.MarshalECPrivateKey(private)
	if err != nil {
		t.Fatal(err)
	}
	return string(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: signed})), string(pem.EncodeToMemory(&pem.Block{Type: "EC PRIVATE KEY", Bytes: secret}))
}
