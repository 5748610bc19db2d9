package notify

import (
	"bytes"
	"context"
	"crypto/hmac"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"strconv"
	"time"

	"github.com/baktainer/baktainer/internal/condition"
	"github.com/baktainer/baktainer/internal/source"
	"github.com/baktainer/baktainer/internal/version"
)

const (
	// SignatureHeader carries "t=TIME,v1=HMAC": Unix seconds, and the HMAC-SHA256 in
	// hexadecimal of the time, a dot and the body.
	SignatureHeader = "Baktainer-Signature"
	// leastSecret is the shortest secret that signs, in bytes.
	leastSecret = 16
	// httpTimeout bounds one call, maxAnswer what is read of its answer, in bytes.
	httpTimeout = 20 * time.Second
	maxAnswer   = 1 << 10
)

// newClient makes a client that follows no redirect: neither a signature nor the
// words of a URL are for another server.
func newClient() *http.Client {
	return &http.Client{
		Timeout:       httpTimeout,
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
	}
}

// webhook posts JSON.
type webhook struct {
	url    string
	secret source.Secret
	client *http.Client
}

// payload is the body of a webhook. Fields are only ever added while the version
// stays the same.
type payload struct {
	Version    int       `json:"version"`
	Type       string    `json:"type"` // events or test
	Cluster    string    `json:"cluster"`
	Controller string    `json:"controller"`
	SentAt     time.Time `json:"sent_at"`
	Subject    string    `json:"subject"`
	Text       string    `json:"text"`
	Open       int       `json:"open"`
	Lost       uint64    `json:"lost,omitempty"`
	Events     []event   `json:"events"`
}

type event struct {
	// Sequence is the same whenever the event is told again.
	Sequence uint64    `json:"sequence"`
	Event    string    `json:"event"`
	State    string    `json:"state"` // open, closed or done
	Of       string    `json:"of"`
	Name     string    `json:"name"`
	At       time.Time `json:"at"`
	Since    time.Time `json:"since"`
	Title    string    `json:"title"`
	Message  string    `json:"message,omitempty"`
	Hint     string    `json:"hint,omitempty"`
	Run      string    `json:"run,omitempty"`
}

func payloadOf(m *outgoing) payload {
	p := payload{
		Version: 1, Type: "events", Cluster: m.Cluster, Controller: m.Controller, SentAt: m.At.UTC(),
		Subject: m.subject, Text: m.body, Open: m.Open, Lost: m.Lost, Events: []event{},
	}
	if m.Test {
		p.Type = "test"
	}
	for _, e := range m.events {
		c := e.GetCondition()
		words := condition.Of(c.GetKind())
		told := event{
			Sequence: e.GetSequence(), Event: string(words.Event), State: "open", Of: words.Of, Name: c.GetSubject(),
			At: e.GetAt().AsTime(), Since: c.GetOpenedAt().AsTime(), Title: words.Began,
			Message: c.GetMessage(), Hint: c.GetHint(), Run: c.GetRun(),
		}
		switch {
		case e.GetClosed():
			told.State, told.Title = "closed", words.Ended
		case words.Ended == "":
			told.State = "done"
		}
		p.Events = append(p.Events, told)
	}
	return p
}

func (w *webhook) send(ctx context.Context, m *outgoing) error {
	var out bytes.Buffer
	e := json.NewEncoder(&out)
	e.SetEscapeHTML(false)
	if err := e.Encode(payloadOf(m)); err != nil {
		return fmt.Errorf("make the body: %w", err)
	}
	body := out.Bytes()
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, w.url, bytes.NewReader(body))
	if err != nil {
		return fmt.Errorf("make the request: %w", err)
	}
	req.Header.Set("Content-Type", "application/json")
	if w.secret != "" {
		req.Header.Set(SignatureHeader, sign(w.secret, m.At, body))
	}
	return call(w.client, req)
}

func sign(secret source.Secret, at time.Time, body []byte) string {
	t := strconv.FormatInt(at.Unix(), 10)
	mac := hmac.New(sha256.New, []byte(secret.Reveal()))
	mac.Write([]byte(t + "."))
	mac.Write(body)
	return "t=" + t + ",v1=" + hex.EncodeToString(mac.Sum(nil))
}

// call makes a request, and wants an answer of 2xx.
func call(client *http.Client, req *http.Request) error {
	req.Header.Set("User-Agent", "Baktainer/"+version.String())
	resp, err := client.Do(req)
	if err != nil {
		return err
	}
	defer resp.Body.Close()
	answer, _ := io.ReadAll(io.LimitReader(resp.Body, maxAnswer)) // only to tell what it says
	switch {
	case resp.StatusCode >= 200 && resp.StatusCode < 300:
		return nil
	case resp.StatusCode >= 300 && resp.StatusCode < 400:
		to, _ := url.Parse(resp.Header.Get("Location"))
		where := "elsewhere"
		if to != nil && to.Host != "" {
			where = "to " + to.Scheme + "://" + to.Host
		}
		return explained{fmt.Errorf("it answers %s and sends %s, which is not followed", resp.Status, where), "Give the URL that it points to."}
	}
	return explained{fmt.Errorf("it answers %s: %.200q", resp.Status, answer), "The server refused it: its own log may say why."}
}
