package influxdb

import (
	"bytes"
	"encoding/json"
	"fmt"
	"strconv"
	"strings"
	"unicode"
	"unicode/utf8"

	"github.com/baktainer/baktainer/internal/engine"
	"github.com/baktainer/baktainer/internal/problem"
)

// A dump is text that `influx -import` takes:
//
//	# dump of an InfluxDB database, influx 1.6.7
//	# DDL
//	CREATE DATABASE "shop" WITH DURATION INF REPLICATION 1 SHARD DURATION 604800s NAME "autogen"
//	# THEN ALTER RETENTION POLICY "autogen" ON "shop" DURATION 1209600s SHARD DURATION 604800s
//	# THEN CREATE CONTINUOUS QUERY …
//	# DML
//	# CONTEXT-DATABASE:shop
//	# CONTEXT-RETENTION-POLICY:autogen
//	cpu,host=a usage=0.5,cores=4i 1700000000000000000
//	# POINT log,host=a text="two%0Alines" 1700000000000000000
//	# end of 2 points
//
// Lines behind NOTE are for people. Statements behind THEN are for when the points are there: before, the server
// would refuse points that are older than their retention policy allows. A point
// with a line end in it is written so that it is one line, since `influx -import` would
// double that.
const (
	firstLine   = "# dump of an InfluxDB database, influx "
	lineDDL     = "# DDL"
	lineThen    = "# THEN "
	lineNote    = "# NOTE "
	lineDML     = "# DML"
	lineDB      = "# CONTEXT-DATABASE:"
	linePolicy  = "# CONTEXT-RETENTION-POLICY:"
	lineEscaped = "# POINT "
	lastLine    = "# end of "
	comment     = '#'
	replacement = string(utf8.RuneError)
)

var (
	inMeasurement = strings.NewReplacer(",", `\,`, " ", `\ `)
	inKey         = strings.NewReplacer(",", `\,`, " ", `\ `, "=", `\=`)
	inString      = strings.NewReplacer(`"`, `\"`, `\`, `\\`)
	inIdentifier  = strings.NewReplacer(`"`, `\"`, `\`, `\\`, "\n", `\n`)
	inOneLine     = strings.NewReplacer("%", "%25", "\n", "%0A")
	outOfOneLine  = strings.NewReplacer("%25", "%", "%0A", "\n")
)

// ident is a name in InfluxQL.
func ident(name string) string { return `"` + inIdentifier.Replace(name) + `"` }

func unprintable(r rune) bool { return !unicode.IsPrint(r) }

// checkKey refuses what line protocol cannot say: InfluxDB can have got it only by
// SELECT … INTO, or long ago. A name that is not UTF-8 has been replaced by influx,
// and could not be asked for.
func checkKey(what, name string) error {
	why := ""
	switch {
	case name == "":
		why = "is empty"
	case strings.Contains(name, replacement):
		why = "is not UTF-8, or holds the sign U+FFFD, which influx writes in place of what is not"
	case strings.ContainsAny(name, "\n\x00"), strings.Contains(name, "\r") && !strings.HasPrefix(what, "value"): // which no query can say
		why = "has a line end or a zero byte in it"
	case name[0] == '\t' && (what == "measurement" || what == "field"): // which is passed over
		why = "begins with a tab"
	case strings.HasSuffix(name, `\`):
		why = "ends with a backslash"
	case name[0] == comment && what == "measurement":
		why = "begins with #"
	case what == "field" && (strings.Contains(name, "\\,") || strings.Contains(name, "\\=") || strings.Contains(name, "\\ ")):
		why = "has a backslash before a comma, a blank, or an equals sign"
	default:
		return nil
	}
	return problem.New(problem.Failed, "the %s %.100q %s: a dump in line protocol cannot hold that", what, name, why).WithReason(engine.ReasonUnsupported).
		WithHint("Remove it (DROP SERIES), or back the database up with the custom engine and `influxd backup -portable`.")
}

// column is one of a query: a field of one type, or a tag.
type column struct {
	name string
	kind string // the type that is asked for, as in "name"::float; tag for a tag
	line string // the name as it is in a line
}

const kindTag = "tag"

// appendPoint writes a row as a line, without its end. The row has the time, and
// then the columns: fields, and behind them tags. measurement is as it is in a line.
func appendPoint(line []byte, measurement string, columns []column, row []any) ([]byte, error) {
	line = append(line, measurement...)
	fields := len(columns)
	for fields > 0 && columns[fields-1].kind == kindTag {
		fields--
	}
	for i, c := range columns[fields:] {
		value := row[1+fields+i]
		if value == nil || value == "" {
			continue
		}
		text, is := value.(string)
		if !is {
			return nil, errAnswer
		}
		if err := checkKey("value of the tag "+c.name, text); err != nil {
			return nil, err
		}
		line = append(line, ',')
		line = append(line, c.line...)
		line = append(line, '=')
		line = append(line, inKey.Replace(text)...)
	}
	sign := byte(' ')
	for i, c := range columns[:fields] {
		value := row[1+i]
		if value == nil {
			continue
		}
		line = append(line, sign)
		line = append(line, c.line...)
		line = append(line, '=')
		var ok bool
		if line, ok = appendValue(line, c.kind, value); !ok {
			return nil, errAnswer
		}
		sign = ','
	}
	if sign == ' ' {
		return nil, errAnswer // a point without fields
	}
	at, is := row[0].(json.Number)
	if !is {
		return nil, errAnswer
	}
	line = append(line, ' ')
	return append(line, at...), nil
}

func appendValue(line []byte, kind string, value any) ([]byte, bool) {
	switch v := value.(type) {
	case json.Number:
		line = append(line, v...)
		switch kind {
		case "integer":
			line = append(line, 'i')
		case "unsigned":
			line = append(line, 'u')
		case "float":
		default:
			return nil, false
		}
		return line, true
	case bool:
		return strconv.AppendBool(line, v), kind == "boolean"
	case string:
		line = append(line, '"')
		line = append(line, inString.Replace(v)...)
		return append(line, '"'), kind == "string"
	}
	return nil, false
}

// parseLast reads the number of points from the last line.
func parseLast(line []byte) (int64, bool) {
	text, is := bytes.CutPrefix(line, []byte(lastLine))
	number, points := bytes.CutSuffix(text, []byte(" points"))
	n, err := strconv.ParseInt(string(number), 10, 64)
	return n, is && points && err == nil && fmt.Sprint(n) == string(number)
}
