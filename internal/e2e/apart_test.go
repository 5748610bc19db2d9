package e2e

import (
	"bytes"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"fmt"
	"math/big"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/baktainer/baktainer/internal/clock"
	"github.com/baktainer/baktainer/internal/transport"
	"github.com/baktainer/baktainer/internal/transport/certs"
	pb "github.com/baktainer/baktainer/proto/baktainer/v1"
)

// half is `baktainer controller` or `baktainer agent`.
type half struct {
	*up
	name string
}

func newHalf(t *testing.T, name string, files certs.Files, flags ...string) half {
	t.Helper()
	h := half{newUp(t, upOptions{bare: true}), name}
	h.flags = append([]string{"--data-dir", h.dir, "--tls-ca", files.CA, "--tls-cert", files.Cert, "--tls-key", files.Key}, flags...)
	h.start(t)
	return h
}

func (h half) start(t *testing.T) {
	t.Helper()
	cmd := exec.Command(h.binary, append([]string{h.name}, h.flags...)...)
	cmd.Env, cmd.Stdout, cmd.Stderr = h.env, &h.log, &h.log
	cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	ended, started := make(chan struct{}), make(chan error)
	go func() {
		lockThread() // as in up.start
		started <- cmd.Start()
		_ = cmd.Wait() // how it ended is in ProcessState
		close(ended)
	}()
	if err := <-started; err != nil {
		t.Fatal(err)
	}
	h.cmd, h.ended = cmd, ended
}

// says waits until the process has logged the text.
func (h half) says(t *testing.T, text string) {
	t.Helper()
	eventually(t, h.name+" logs "+text, func() (bool, string) {
		return strings.Contains(h.log.String(), text), tail(h.log.String())
	})
}

// peak is the most memory that the process had in RAM.
func (h half) peak(t *testing.T) string {
	t.Helper()
	_, after, _ := strings.Cut(read(t, fmt.Sprintf("/proc/%d/status", h.cmd.Process.Pid)), "VmHWM:")
	line, _, _ := strings.Cut(after, "\n")
	return strings.TrimSpace(line)
}

func read(t *testing.T, path string) string {
	t.Helper()
	text, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	return string(text)
}

// health waits until `baktainer health` says what is wanted, with this exit status.
func (h half) health(t *testing.T, want string, status int) {
	t.Helper()
	eventually(t, h.name+"'s health: "+want, func() (bool, string) {
		// The variable is what an agent's container has: it must not lead the check away.
		r := command(t, nil, append(plainEnvironment(), "BAKTAINER_CONTROLLER=far.example:8468"), h.binary, "health", "--data-dir", h.dir)
		return r.status == status && strings.Contains(r.stdout+r.stderr, want), r.text()
	})
}

// startController starts a controller and gives the address of its agents' port.
func startController(t *testing.T, files certs.Files) (half, string) {
	t.Helper()
	address := strings.Replace(freeAddress(t), "127.0.0.1", "localhost", 1)
	return newHalf(t, "controller", files, "--listen", address, "--http-listen", freeAddress(t), "--schedule", "off", "--lease-duration", "5s"), address
}

func TestControllerAndAgentApart(t *testing.T) {
	needContainers(t)
	t.Parallel()
	ca, stranger := newAuthority(t), newAuthority(t)
	db1, db2 := ca.issue(t, "x", "spiffe://test/agent/db1"), ca.issue(t, "db2")
	controller, address := startController(t, ca.issue(t, "controller"))
	agent := newHalf(t, "agent", db1, "--controller", address)

	// Those that are not to get in try while the others work.
	foreign := stranger.issue(t, "db3")
	both := foreign
	both.CA = filepath.Join(stranger.dir, "both.pem")
	write(t, both.CA, read(t, ca.file)+read(t, stranger.file))
	refused := map[string]half{
		"the controller's certificate is not of the authority in tls-ca":                     newHalf(t, "agent", foreign, "--controller", address),
		"the controller refuses this certificate: remote error: tls: unknown":                newHalf(t, "agent", both, "--controller", address),
		`the certificate is that of the agent \"db2\": it may not act for the agent \"db1\"`: newHalf(t, "agent", db2, "--controller", address, "--agent-id", "db1"),
	}
	r := command(t, nil, plainEnvironment(), controller.binary, "agent", "--controller", address, "--tls-ca", ca.file)
	if r.status != badInput || !strings.Contains(r.stderr, "not set: tls-cert, tls-key") {
		t.Errorf("without a certificate:\n%s", r.text())
	}

	c := postgres.start(t)
	postgres.seed(t, c, 5)
	before := postgres.fingerprint(t, c)
	controller.ready(t)
	s := controller.backup(t, c)
	controller.verify(t, s)
	postgres.wreck(t, c)
	controller.ok(t, "restore", s.ID, "--overwrite", "--yes")
	if after := postgres.fingerprint(t, c); after != before {
		t.Errorf("restored:\n%s\nwas:\n%s", tail(after), tail(before))
	}
	actsAsAnother(t, address, db2, controller.runs(t, c.source())[0].ID)

	controller.health(t, "ready", 0)
	agent.health(t, "connected", 0)
	controller.stop(t)
	controller.health(t, "nothing runs here", 1)
	agent.health(t, "alone", 0) // to restart it would cost a dump and help nobody
	controller.start(t)
	controller.ready(t)
	agent.health(t, "connected", 0)
	controller.verify(t, controller.backup(t, c))
	t.Logf("peak of memory: controller %s, agent %s", controller.peak(t), agent.peak(t))
	for text, h := range refused {
		h.says(t, text)
	}
	if strings.Contains(controller.log.String(), "agent=db3") || strings.Contains(controller.log.String(), "agent=db2") {
		t.Errorf("a stranger got in:\n%s", tail(controller.log.String()))
	}
	agent.stop(t)
	agent.health(t, "nothing runs here", 1)
}

// A certificate that expires is refused on the connection that it opened, and on
// any other.
func TestACertificateExpires(t *testing.T) {
	needContainers(t)
	t.Parallel()
	ca := newAuthority(t)
	controller, address := startController(t, ca.issue(t, "controller"))
	ends := time.Now().Add(12 * time.Second)
	short := ca.until(ends).issue(t, "db1")
	agent := newHalf(t, "agent", short, "--controller", address)
	controller.says(t, `"agent":"db1"`)
	holder, err := transport.OwnPKI(short, clock.System{}, x509.ExtKeyUsageClientAuth)
	if err != nil {
		t.Fatal(err)
	}
	conn := connect(t, address, holder)
	if _, err := pb.NewAgentServiceClient(conn).Locate(t.Context(), &pb.LocateRequest{}); err != nil {
		t.Fatalf("while it is good: %v", err)
	}
	eventually(t, "the certificate has expired", func() (bool, string) { return time.Now().After(ends), "" })
	refusedAll(t, "an expired certificate, on a connection that was open", conn)
	agent.says(t, "expired")
	again, err := transport.Dial(address, holder)
	if err == nil {
		defer again.Close()
		_, err = pb.NewAgentServiceClient(again).Locate(t.Context(), &pb.LocateRequest{})
	}
	if err == nil || !strings.Contains(err.Error(), "expired") {
		t.Errorf("a new connection: %v", err)
	}
	controller.says(t, "agent disconnected")
}

// actsAsAnother tries with an agent's certificate what is not that agent's to do.
func actsAsAnother(t *testing.T, address string, files certs.Files, run string) {
	t.Helper()
	holder, err := transport.OwnPKI(files, clock.System{}, x509.ExtKeyUsageClientAuth)
	if err != nil {
		t.Fatal(err)
	}
	conn, err := transport.Dial(address, holder)
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	calls, lease := pb.NewAgentServiceClient(conn), &pb.Lease{Run: run, Epoch: 1}
	upload := func() error {
		stream, err := calls.UploadObject(t.Context())
		if err != nil {
			return err
		}
		err = stream.Send(&pb.UploadObjectRequest{Part: &pb.UploadObjectRequest_Header{Header: &pb.ObjectHeader{Lease: lease}}})
		if err != nil {
			return err
		}
		_, err = stream.CloseAndRecv()
		return err
	}
	download := func() error {
		stream, err := calls.ReadObject(t.Context(), &pb.ReadObjectRequest{Lease: lease})
		if err != nil {
			return err
		}
		_, err = stream.Recv()
		return err
	}
	_, heartbeat := calls.Heartbeat(t.Context(), &pb.HeartbeatRequest{Agent: "db1"})
	_, inventory := calls.ReportInventory(t.Context(), &pb.ReportInventoryRequest{Agent: "db1"})
	_, finish := calls.FinishRun(t.Context(), &pb.FinishRunRequest{Lease: lease})
	_, commit := calls.CommitSnapshot(t.Context(), &pb.CommitSnapshotRequest{Lease: lease})
	for what, err := range map[string]error{
		"heartbeat": heartbeat, "inventory": inventory, "finish": finish, "commit": commit, "upload": upload(), "download": download(),
	} {
		if err == nil || !strings.Contains(err.Error(), `may not act for the agent "db1"`) {
			t.Errorf("%s as another agent: %v", what, err)
		}
	}
	_, err = pb.NewAdminServiceClient(conn).GetStatus(t.Context(), &pb.GetStatusRequest{})
	if err == nil || !strings.Contains(err.Error(), "GetStatus is not for the agent db2") {
		t.Errorf("an operator's call at the agents' port: %v", err)
	}
}

// The certificates that the manual has users make are good.
func TestTheCertificatesOfTheManual(t *testing.T) {
	needContainers(t)
	t.Parallel()
	if _, err := exec.LookPath("openssl"); err != nil {
		t.Skip("needs openssl; install it")
	}
	_, section, _ := strings.Cut(read(t, filepath.Join(moduleRoot, "docs", "cluster.md")), "\n## An authority of your own\n")
	_, script, _ := strings.Cut(section, "```sh\n")
	script, _, _ = strings.Cut(script, "```")
	dir := tempDir(t)
	sh := exec.Command("sh", "-e")
	sh.Dir, sh.Stdin = dir, strings.NewReader(strings.ReplaceAll(script, "backup.example.com", "localhost"))
	if out, err := sh.CombinedOutput(); err != nil {
		t.Fatalf("the commands of the manual: %v\n%s", err, out)
	}
	in := func(name string) certs.Files {
		return certs.Files{CA: filepath.Join(dir, "ca.pem"), Cert: filepath.Join(dir, name+".pem"), Key: filepath.Join(dir, name+".key")}
	}
	controller, address := startController(t, in("controller"))
	newHalf(t, "agent", in("db1"), "--controller", address).says(t, "session with the controller")
	controller.says(t, `"agent":"db1"`)
	// An agent cannot pass for the controller.
	impostor, _ := startController(t, in("db1"))
	impostor.says(t, "extendedKeyUsage has no serverAuth")
}

// authority is a CA of a test, with its certificate in a file.
type authority struct {
	dir, file string
	cert      *x509.Certificate
	key       *ecdsa.PrivateKey
	ends      time.Time // of what it issues; zero: when it does itself
}

// until is the authority when it issues what ends then.
func (a authority) until(ends time.Time) authority {
	a.ends = ends
	return a
}

func newAuthority(t *testing.T) authority {
	t.Helper()
	a := authority{dir: tempDir(t)}
	files := a.sign(t, "ca", &x509.Certificate{
		SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "authority"}, NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(24 * time.Hour),
		IsCA: true, BasicConstraintsValid: true, KeyUsage: x509.KeyUsageCertSign,
	}, &a)
	a.file = files.Cert
	return a
}

// issue makes certificate and key of localhost, and of the URIs if there are any.
func (a authority) issue(t *testing.T, name string, uris ...string) certs.Files {
	t.Helper()
	ends := a.cert.NotAfter
	if !a.ends.IsZero() {
		ends = a.ends
	}
	c := &x509.Certificate{
		SerialNumber: big.NewInt(2), Subject: pkix.Name{CommonName: name}, NotBefore: a.cert.NotBefore, NotAfter: ends,
		KeyUsage: x509.KeyUsageDigitalSignature, DNSNames: []string{"localhost"},
	}
	for _, text := range uris {
		u, err := url.Parse(text)
		if err != nil {
			t.Fatal(err)
		}
		c.URIs = append(c.URIs, u)
	}
	return a.sign(t, name, c, nil)
}

// sign writes certificate and key into files. The authority's own are kept in self.
func (a authority) sign(t *testing.T, name string, c *x509.Certificate, self *authority) certs.Files {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	if self != nil {
		a.cert, a.key, self.key = c, key, key
	}
	der, err := x509.CreateCertificate(rand.Reader, c, a.cert, key.Public(), a.key)
	if err != nil {
		t.Fatal(err)
	}
	if self != nil {
		if self.cert, err = x509.ParseCertificate(der); err != nil {
			t.Fatal(err)
		}
	}
	secret, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		t.Fatal(err)
	}
	base := filepath.Join(a.dir, name)
	var certPEM, keyPEM bytes.Buffer
	_ = pem.Encode(&certPEM, &pem.Block{Type: "CERTIFICATE", Bytes: der}) // a buffer takes all
	_ = pem.Encode(&keyPEM, &pem.Block{Type: "PRIVATE KEY", Bytes: secret})
	write(t, base+".pem", certPEM.String())
	write(t, base+".key", keyPEM.String())
	return certs.Files{CA: a.file, Cert: base + ".pem", Key: base + ".key"}
}
