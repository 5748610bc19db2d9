package oracle

import (
	"fmt"
	"math/rand/v2"
	"strings"
)

// Zones are those of the virtual year; in 2018 clocks were changed in four of
// them, in São Paulo at midnight and on Lord Howe by half an hour.
var Zones = []string{"America/New_York", "America/Sao_Paulo", "Australia/Lord_Howe", "Asia/Kathmandu", "Europe/Berlin", "UTC"}

// Expression makes up an expression: mostly such as people write, many of them
// at the hours at which clocks are changed. dense says whether it may fire more
// often than hourly.
func Expression(r *rand.Rand, dense bool) string {
	pick := func(list ...string) string { return list[r.IntN(len(list))] }
	n := func(least, most int) string { return fmt.Sprint(least + r.IntN(most-least+1)) }
	switch r.IntN(12) {
	case 0:
		return pick("@daily", "@midnight", "@weekly", "@monthly", "@yearly", "@annually")
	case 1:
		if dense {
			return "@every " + pick("7m", "15m", "90m", "1h", "5h", "12h", "24h")
		}
		return "@every " + pick("90m", "5h", "12h", "24h", "100h")
	}
	minute, hour := n(0, 59), n(0, 3)
	switch r.IntN(6) {
	case 0:
		minute = pick("0", "15", "30", "45")
	case 1:
		minute = strings.Join([]string{n(0, 19), n(20, 39), n(40, 59)}, ",")
	case 2:
		minute = pick("0", "30", "0-59/30", "10-12", "*/20")
	}
	switch r.IntN(8) {
	case 0:
		hour = n(0, 23)
	case 1:
		hour = pick("*/2", "*/6", "1-3", "0,12", "23", "22-23,0-1")
	case 2:
		hour = "*"
		if !dense {
			minute = n(0, 59)
		}
	}
	date, month, week := "*", "*", "*"
	switch r.IntN(8) {
	case 0:
		date = pick("1", "L", "15", "31", "29", "1,15", "1-7", "15W", "1W", "30W")
	case 1:
		week = pick("0", "7", "1-5", "MON", "sun", "SAT,SUN", "5L", "1#2", "0L", "3#1", "6", "0,3")
	case 2:
		date, week = pick("1", "13", "10-12"), pick("5", "SUN", "1,4")
	case 3:
		month = pick("2", "MAR", "OCT,NOV", "1-6", "*/3", "4,11")
	}
	text := strings.Join([]string{minute, hour, date, month, week}, " ")
	if r.IntN(6) == 0 {
		text = pick("0", "30", "59", "15,45", "0-59/20") + " " + text
	}
	return text
}
