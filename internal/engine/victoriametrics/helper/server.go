package helper

import (
	"bufio"
	"bytes"
	"context"
	"crypto/tls"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"maps"
	"net/http"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/baktainer/baktainer/internal/engine"
	"github.com/baktainer/baktainer/internal/engine/victoriametrics/line"
	"github.com/baktainer/baktainer/internal/problem"
)

// everything selects all series: those with a name, and those without.
var everything = []string{`{__name__!=""}`, `{__name__=""}`}

const (
	// allTime ends in the year 2100; a server takes nothing that is two days ahead.
	allTime    = "4102444800"
	wordsLimit = 300     // of what a server says when it refuses something
	smallLimit = 8 << 20 // of an answer that is no export
	// answerPatience is for the first answer of all.
	answerPatience = 30 * time.Second
)

// server is a VictoriaMetrics, reached over HTTP.
type server struct {
	Access
	client *http.Client
}

func newServer(a Access) *server {
	// The certificate need not be made out to the loopback, where nobody else can be met.
	secure := &tls.Config{InsecureSkipVerify: true} //nolint:gosec // see above
	return &server{a, &http.Client{Transport: &http.Transport{TLSClientConfig: secure, DisableCompression: true}}}
}

// post asks for something, with a form or a body.
func (s *server) post(ctx context.Context, path, contentType string, body io.Reader) (*http.Response, error) {
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, s.URL+path, body)
	if err != nil {
		return nil, fmt.Errorf("ask the server for %s: %w", path, err)
	}
	req.Header.Set("Content-Type", contentType)
	if s.User != "" || s.Password != "" {
		req.SetBasicAuth(s.User, s.Password)
	}
	resp, err := s.client.Do(req)
	if err != nil {
		if uerr, ok := errors.AsType[*url.Error](err); ok {
			err = uerr.Err
		}
		return nil, problem.Wrap(problem.Unavailable, err, "ask the server for %s", path).WithReason(engine.ReasonNoConnection).
			WithHint("The server does not answer inside its container. Is it still starting?")
	}
	if resp.StatusCode/100 == 2 {
		return resp, nil
	}
	defer resp.Body.Close()
	said, _ := io.ReadAll(io.LimitReader(resp.Body, wordsLimit)) // as much as there is
	p := problem.New(problem.Failed, "the server answers %s with %s", path, strings.TrimSpace(resp.Status+" "+words(said))).WithReason(engine.ReasonToolFailed)
	if resp.StatusCode == http.StatusUnauthorized || resp.StatusCode == http.StatusForbidden {
		p.Code, p.Reason = problem.Denied, engine.ReasonWrongPassword
		p.Hint = "Set the labels baktainer.db.user and baktainer.db.password_file (or another password label) to what -httpAuth.username and -httpAuth.password are."
	}
	return nil, p
}

func (s *server) form(ctx context.Context, path string, form url.Values) (*http.Response, error) {
	return s.post(ctx, path, "application/x-www-form-urlencoded", strings.NewReader(form.Encode()))
}

// version is what the server says of its own, which may be nothing, also since its
// metrics may have a password of their own. It fails when the server does not answer.
func (s *server) version(ctx context.Context) (string, error) {
	ctx, cancel := context.WithTimeout(ctx, answerPatience)
	defer cancel()
	resp, err := s.form(ctx, "/metrics", nil)
	switch {
	case problem.ReasonOf(err) == engine.ReasonNoConnection:
		return "", err
	case err != nil:
		return "", nil //nolint:nilerr // it is for people only
	}
	defer resp.Body.Close()
	text := bufio.NewScanner(io.LimitReader(resp.Body, smallLimit))
	for text.Scan() {
		if _, rest, found := strings.Cut(text.Text(), `short_version="`); found && strings.HasPrefix(text.Text(), "vm_app_version{") {
			version, _, _ := strings.Cut(rest, `"`)
			return strings.TrimPrefix(version, "v"), nil
		}
	}
	return "", nil // it is for people only
}

// lines are those of an export.
type lines struct {
	body io.ReadCloser
	in   *bufio.Reader
	long []byte // a line that is longer than the buffer of in
	raw  []byte // the present line, with its end
}

// export begins to read all that the server has, so many samples a line at most.
func (s *server) export(ctx context.Context, samples int) (*lines, error) {
	resp, err := s.form(ctx, "/api/v1/export", url.Values{ //nolint:bodyclose // by lines.close
		"match[]": everything, "start": {"0"}, "end": {allTime}, "max_rows_per_line": {strconv.Itoa(samples)},
	})
	if err != nil {
		return nil, err
	}
	return &lines{body: resp.Body, in: bufio.NewReaderSize(resp.Body, 256<<10)}, nil
}

func (l *lines) close() { _ = l.body.Close() }

// next reads a line and takes it apart; what it gives holds until the next call.
// io.EOF means that the server has ended the export in order.
func (l *lines) next() (line.Parts, error) {
	var err error
	l.raw, err = readLine(l.in, &l.long)
	ended := errors.Is(err, io.EOF)
	switch {
	case ended && len(l.raw) == 0:
		return line.Parts{}, io.EOF
	case err != nil && !ended:
		return line.Parts{}, problem.Wrap(problem.Unavailable, err, "read the export").WithReason(engine.ReasonStreamLost).
			WithHint("The server broke off. Was it stopped, or did it run out of memory?")
	}
	p, err := line.Split(bytes.TrimSuffix(l.raw, []byte{'\n'}))
	if ended || err != nil { // what goes wrong after the first line, a server writes between them
		return p, problem.New(problem.Failed, "the server did not export everything: %s", words(l.raw)).WithReason(engine.ReasonToolFailed)
	}
	return p, nil
}

// words are the first ones of what a server says.
func words(said []byte) string {
	return strings.Join(strings.Fields(strings.ToValidUTF8(string(said[:min(len(said), wordsLimit)]), "?")), " ")
}

// readLine reads up to a line's end, into long when the buffer is too short. What
// was read when it fails is given as well.
func readLine(in *bufio.Reader, long *[]byte) ([]byte, error) {
	part, err := in.ReadSlice('\n')
	if !errors.Is(err, bufio.ErrBufferFull) {
		return part, err
	}
	*long = append((*long)[:0], part...)
	for errors.Is(err, bufio.ErrBufferFull) {
		part, err = in.ReadSlice('\n')
		if *long = append(*long, part...); len(*long) > line.Max {
			return *long, fmt.Errorf("a line is longer than %d bytes", line.Max)
		}
	}
	return *long, err
}

// clear deletes all series.
func (s *server) clear(ctx context.Context) error {
	form := url.Values{"match[]": everything}
	if s.DeleteKey != "" {
		form.Set("authKey", s.DeleteKey)
	}
	resp, err := s.form(ctx, "/api/v1/admin/tsdb/delete_series", form)
	if err != nil {
		return fmt.Errorf("delete what is there: %w", err)
	}
	return resp.Body.Close()
}

// flush makes what was written visible at once, unless the server does not let us.
func (s *server) flush(ctx context.Context) (done bool) {
	resp, err := s.form(ctx, "/internal/force_flush", nil)
	if err != nil {
		return false
	}
	_ = resp.Body.Close()
	return true
}

func (s *server) query(ctx context.Context, text string) (string, error) {
	resp, err := s.form(ctx, "/api/v1/query", url.Values{"query": {text}})
	if err != nil {
		return "", err
	}
	defer resp.Body.Close()
	body, err := io.ReadAll(io.LimitReader(resp.Body, smallLimit))
	if err != nil {
		return "", problem.Wrap(problem.Unavailable, err, "read the answer").WithReason(engine.ReasonStreamLost)
	}
	return answer(body)
}

// answer makes lines of the answer to an instant query.
func answer(body []byte) (string, error) {
	var a struct {
		Status string
		Data   struct {
			ResultType string
			Result     json.RawMessage
		}
	}
	malformed := problem.New(problem.Failed, "the server answers with something else than the result of a query").WithReason(engine.ReasonMalformed)
	if json.Unmarshal(body, &a) != nil || a.Status != "success" {
		return "", malformed
	}
	var series []struct {
		Metric map[string]string
		Value  []any
	}
	if err := json.Unmarshal(a.Data.Result, &series); err != nil {
		return "", malformed
	}
	var out bytes.Buffer
	for _, s := range series {
		if len(s.Value) != 2 {
			return "", malformed
		}
		for i, name := range slices.Sorted(maps.Keys(s.Metric)) {
			out.WriteString(map[bool]string{true: "{", false: ","}[i == 0])
			fmt.Fprintf(&out, "%s=%q", name, s.Metric[name])
		}
		if len(s.Metric) > 0 {
			out.WriteString("}\t")
		}
		fmt.Fprintln(&out, s.Value[1])
	}
	return out.String(), nil
}
