package influxdb

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"

	"github.com/baktainer/baktainer/internal/engine"
	"github.com/baktainer/baktainer/internal/problem"
)

// series is what rows of an answer have in common. A long answer has several of
// the same name, one after the other.
type series struct {
	name    string
	columns []string
}

var errAnswer = errors.New("influx answered something that is not expected")

// readAnswer reads what influx writes in JSON, row by row: however long it is, no
// more than a row of it is kept. Numbers are json.Number. The end of an answer
// is checked; what influx says behind it is left.
func readAnswer(r io.Reader, each func(*series, []any) error) error {
	a := answer{json.NewDecoder(r), each}
	a.UseNumber()
	err := a.object(map[string]func() error{
		"results": func() error {
			return a.array(func() error {
				return a.object(map[string]func() error{"series": func() error { return a.array(a.series) }})
			})
		},
	})
	var syntax *json.SyntaxError
	var kind *json.UnmarshalTypeError
	switch {
	case err == nil:
		return nil
	case errors.Is(err, io.EOF) && a.InputOffset() == 0:
		return problem.New(problem.Failed, "influx answered nothing").WithReason(engine.ReasonEmpty)
	case errors.Is(err, io.EOF), errors.Is(err, io.ErrUnexpectedEOF):
		return problem.New(problem.Failed, "influx ended in the middle of an answer").WithReason(engine.ReasonTruncated)
	case errors.As(err, &syntax):
		return problem.Wrap(problem.Failed, err, "read an answer of influx").WithReason(engine.ReasonMalformed).
			WithHint("So it is when the server breaks off. Was it stopped, or did it run out of memory?")
	case errors.Is(err, errAnswer), errors.As(err, &kind):
		return problem.Wrap(problem.Failed, err, "read an answer of influx").WithReason(engine.ReasonMalformed)
	}
	return err
}

type answer struct {
	*json.Decoder
	each func(*series, []any) error
}

// delim reads one of the signs that JSON's objects and arrays have.
func (a answer) delim(want json.Delim) error {
	token, err := a.Token()
	if err == nil && token != want {
		err = errAnswer
	}
	return err
}

// object reads an object. Fields for which there is nothing are left out, save
// one that tells of an error.
func (a answer) object(fields map[string]func() error) error {
	if err := a.delim('{'); err != nil {
		return err
	}
	for a.More() {
		token, err := a.Token()
		if err != nil {
			return err
		}
		name, _ := token.(string)
		read := fields[name]
		switch {
		case name == "error":
			var said string
			if err = a.Decode(&said); err == nil {
				const enough = 500
				err = fmt.Errorf("%w: %.*s", errAnswer, enough, said)
			}
		case read != nil:
			err = read()
		default:
			var other json.RawMessage
			err = a.Decode(&other)
		}
		if err != nil {
			return err
		}
	}
	return a.delim('}')
}

func (a answer) array(element func() error) error {
	if err := a.delim('['); err != nil {
		return err
	}
	for a.More() {
		if err := element(); err != nil {
			return err
		}
	}
	return a.delim(']')
}

func (a answer) series() error {
	var s series
	return a.object(map[string]func() error{
		"name":    func() error { return a.Decode(&s.name) },
		"columns": func() error { return a.Decode(&s.columns) },
		"values": func() error {
			return a.array(func() error {
				var row []any
				if err := a.Decode(&row); err != nil {
					return err
				}
				if len(row) != len(s.columns) {
					return errAnswer
				}
				return a.each(&s, row)
			})
		},
	})
}
