package pki_test

import (
	"bytes"
	"encoding/json"
	"fmt"
	"log/slog"
	"strings"
	"testing"

	"github.com/baktainer/baktainer/internal/pki"
	"github.com/baktainer/baktainer/internal/problem"
)

func TestATokenIsReadAsItWasWritten(t *testing.T) {
	t.Parallel()
	root := newRoot(t)
	token, hash := pki.NewToken(root.DER())
	text := token.String()
	if len(text) != len("BKTN-1-")+32+1+26 || !strings.HasPrefix(text, "BKTN-1-") {
		t.Errorf("%d characters", len(text))
	}
	for what, text := range map[string]string{
		"as it is": text, "with a line break": text + "\r\n", "quoted": ` "` + text + "\" ", "in capitals": strings.ToUpper(text), "in small letters": strings.ToLower(text),
	} {
		again, err := pki.ParseToken(text)
		if err != nil || again != token || again.Hash() != hash || again.Unpinned() {
			t.Errorf("%s: %v", what, err)
		}
	}
	if !token.Matches(root.DER()) || token.Matches(newRoot(t).DER()) || token.Matches(nil) {
		t.Error("it does not know its root")
	}
	if hash != pki.HashSecret(token.Secret()) || token.ID() != fmt.Sprintf("%x", hash[:6]) || pki.TokenID(hash[:]) != token.ID() {
		t.Error("hash, secret and id are not each other's")
	}
	if other, _ := pki.NewToken(root.DER()); other == token {
		t.Error("two tokens are the same")
	}
}

func TestAnUnpinnedToken(t *testing.T) {
	t.Parallel()
	token := pki.NewUnpinned()
	if !strings.HasPrefix(token.String(), "BKTN-1-0-") || !token.Unpinned() || token.Matches(newRoot(t).DER()) {
		t.Error("it pins a root")
	}
	if again, err := pki.ParseToken(token.String()); err != nil || again != token {
		t.Errorf("read again: %v", err)
	}
}

func TestNothingShowsASecretByAccident(t *testing.T) {
	t.Parallel()
	token, _ := pki.NewToken(newRoot(t).DER())
	held := struct{ T pki.Token }{token}
	var out bytes.Buffer
	for _, verb := range []string{"%v", "%+v", "%#v", "%s", "%q", "%x", "%d"} {
		fmt.Fprintf(&out, verb+" ", token)
		fmt.Fprintf(&out, verb+" ", &token)
		fmt.Fprintf(&out, verb+" ", held)
	}
	fmt.Fprintln(&out, token, held, &held)
	for _, h := range []slog.Handler{slog.NewTextHandler(&out, nil), slog.NewJSONHandler(&out, nil)} {
		slog.New(h).Info("x", "token", token, "held", held, "both", []pki.Token{token})
	}
	b, err := json.Marshal(map[string]any{"a": token, "b": held})
	if err != nil {
		t.Fatal(err)
	}
	out.Write(b)
	hexed := fmt.Sprintf("%x", token.Secret())
	if strings.Contains(out.String(), token.Secret()) || strings.Contains(out.String(), hexed) {
		t.Errorf("the secret is in %s", out.String())
	}
	if !strings.Contains(out.String(), token.ID()) {
		t.Error("the id is not shown either")
	}
}

func TestTyposAreToldWithoutTheSecret(t *testing.T) {
	t.Parallel()
	token, _ := pki.NewToken(newRoot(t).DER())
	good := token.String()
	cut := strings.LastIndexByte(good, '-') + 1
	for _, tc := range []struct{ what, text, want string }{
		{"nothing", "", "it is empty"},
		{"blanks", " \n\t", "it is empty"},
		{"something else", "hunter2hunter2hunter2hunter2", "does not begin with BKTN-"},
		{"the secret alone", good[cut:], "does not begin with BKTN-"},
		{"a beginning that is short", "BKT", "does not begin with BKTN-"},
		{"a newer kind", "BKTN-2-" + good[7:], "does not know"},
		{"cut off before the secret", good[:cut-1], "has 3 parts between hyphens instead of 4"},
		{"a hyphen too many", good + "-", "has 5 parts"},
		{"cut off within the secret", good[:len(good)-3], "the secret, has 23 characters instead of 26"},
		{"no secret", good[:cut], "the secret, has 0 characters"},
		{"a letter too many", good + "a", "has 27 characters"},
		{"a digit that is a letter", good[:len(good)-1] + "0", "the secret, has a character that is none of"},
		{"a letter from elsewhere", good[:len(good)-1] + "ä", "the secret, has a character that is none of"},
		{"a digest that is short", "BKTN-1-" + good[8:], "the digest of the cluster, has 31 characters instead of 32"},
		{"a digest with a wrong digit", "BKTN-1-1" + good[8:], "the digest of the cluster, has a character"},
		{"no digest", "BKTN-1--" + good[cut:], "the digest of the cluster, has 0 characters"},
		{"two lines", good[:20] + "\n" + good[20:], "a space or a line break in it"},
		{"two tokens", good + " " + good, "a space or a line break in it"},
	} {
		got, err := pki.ParseToken(tc.text)
		if problem.CodeOf(err) != problem.InvalidInput || problem.ReasonOf(err) != pki.ReasonBadToken || !strings.Contains(err.Error(), tc.want) {
			t.Errorf("%s: %v, want %q", tc.what, err, tc.want)
			continue
		}
		if got != (pki.Token{}) {
			t.Errorf("%s: a token came with the error", tc.what)
		}
		for _, part := range []string{good[cut:], good[cut : cut+8], good[len(good)-8:], "hunter2"} {
			if strings.Contains(problem.Text(err), part) {
				t.Errorf("%s: the error repeats the secret: %s", tc.what, problem.Text(err))
			}
		}
	}
}

func FuzzParseToken(f *testing.F) {
	token, _ := pki.NewToken(newRoot(f).DER())
	f.Add(token.String())
	f.Add(pki.NewUnpinned().String())
	f.Add("BKTN-1-0-")
	f.Add("bktn-1-\x00")
	f.Fuzz(func(t *testing.T, text string) {
		token, err := pki.ParseToken(text)
		if err != nil {
			if problem.ReasonOf(err) != pki.ReasonBadToken || token != (pki.Token{}) {
				t.Errorf("%v, %v", token, err)
			}
			return
		}
		if again, err := pki.ParseToken(token.String()); err != nil || again != token || len(token.Secret()) != 26 {
			t.Errorf("what was read cannot be read again: %v", err)
		}
	})
}
