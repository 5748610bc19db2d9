package workload

import (
	"encoding/hex"
	"strconv"
)

// Rows are in PostgreSQL's COPY text format: tabs between the columns, \N for
// NULL. A row is made from the seed, its number and the days on which it was
// changed alone, so that an update needs no copy of what was there.

func number(b []byte, n int) []byte { return strconv.AppendInt(b, int64(n), 10) }

// padded appends n with leading zeros.
func padded(b []byte, n, width int) []byte {
	for limit := 10; width > 1; width-- {
		if n < limit {
			for range width - 1 {
				b = append(b, '0')
			}
			break
		}
		limit *= 10
	}
	return number(b, n)
}

// stamp appends a time of the year 2025, day 0 being its first.
func stamp(b []byte, day, second int) []byte {
	b = append(b, "2025-"...)
	b = padded(b, 1+day/28%12, 2)
	b = append(b, '-')
	b = padded(b, 1+day%28, 2)
	b = append(b, ' ')
	b = padded(b, second/3600%24, 2)
	b = append(b, ':')
	b = padded(b, second/60%60, 2)
	b = append(b, ':')
	return padded(b, second%60, 2)
}

func cents(b []byte, n int) []byte {
	b = number(b, n/100)
	b = append(b, '.')
	return padded(b, n%100, 2)
}

func hexes(b []byte, r *random, n int) []byte {
	var raw [16]byte
	for i := range raw[:n] {
		raw[i] = byte(r.next())
	}
	return hex.AppendEncode(b, raw[:n])
}

func uuid(b []byte, r *random) []byte {
	for i, n := range [5]int{4, 2, 2, 2, 6} {
		if i > 0 {
			b = append(b, '-')
		}
		b = hexes(b, r, n)
	}
	return b
}

// account is pgbench's: aid, bid, abalance, filler, which the type of its
// column fills with blanks.
func account(b []byte, seed uint64, id int, days []int) []byte {
	r := at(seed, 1, uint64(id))
	balance := r.below(2_000_000) - 1_000_000
	for _, d := range days {
		balance += 1 + at(seed, 11, uint64(id), uint64(d)).below(5_000)
	}
	b = number(b, id)
	b = append(b, '\t')
	b = number(b, 1+(id-1)/100_000)
	b = append(b, '\t')
	b = number(b, balance)
	return append(b, "\t\n"...)
}

// customer: id, name, email, street, city, phone, birth, credit, note, updated.
func customer(b []byte, seed uint64, id int, days []int) []byte {
	r := at(seed, 2, uint64(id))
	given, family := givenNames[r.below(len(givenNames))], familyNames[r.below(len(familyNames))]
	b = number(b, id)
	b = append(b, '\t')
	b = append(append(append(b, given...), ' '), family...)
	b = append(b, '\t')
	b = append(append(append(b, given...), '.'), family...)
	b = number(b, r.below(10_000))
	b = append(b, "@example.org\t"...)
	b = append(b, vocabulary[150+r.below(len(vocabulary)-150)]...)
	b = append(b, " street "...)
	b = number(b, 1+r.below(200))
	b = append(b, '\t')
	b = append(b, cities[r.below(len(cities))]...)
	b = append(b, "\t+43 "...)
	b = padded(b, r.below(1_000_000_000), 9)
	b = append(b, '\t')
	b = stamp(b, r.below(330), 0)
	b = append(b, '\t')
	second, day := r.below(86_400), r.below(300)
	credit := r.below(500_000)
	if len(days) > 0 {
		day = 330 + days[len(days)-1]
		credit = at(seed, 12, uint64(id), uint64(day)).below(500_000)
	}
	b = cents(b, credit)
	b = append(b, '\t')
	b = sentence(b, r)
	b = append(b, '\t')
	b = stamp(b, day, second)
	return append(b, '\n')
}

// document: id, customer, title, body, doc (JSON), created, updated. A change
// replaces one sentence of the body, and state and log of the JSON.
func document(b []byte, seed uint64, id int, days []int) []byte {
	r := at(seed, 3, uint64(id))
	b = number(b, id)
	b = append(b, '\t')
	b = number(b, 1+r.below(100_000))
	b = append(b, '\t')
	b = sentence(b, r)
	b = append(b, '\t')
	sentences := 3 + r.below(8)
	for i := range sentences {
		s := at(seed, 4, uint64(id), uint64(i))
		for _, d := range days {
			if e := at(seed, 13, uint64(id), uint64(d)); e.below(sentences) == i {
				s = e
			}
		}
		if i > 0 {
			b = append(b, ' ')
		}
		b = sentence(b, s)
	}
	b = append(b, "\t{\"state\": \""...)
	state := r.below(4)
	for _, d := range days {
		state = at(seed, 14, uint64(id), uint64(d)).below(4)
	}
	b = append(b, [4]string{"open", "paid", "sent", "closed"}[state]...)
	b = append(b, "\", \"ref\": \""...)
	b = uuid(b, r)
	b = append(b, "\", \"lines\": ["...)
	for i := range 1 + r.below(5) {
		if i > 0 {
			b = append(b, ", "...)
		}
		b = append(b, "{\"sku\": \""...)
		b = hexes(b, r, 4)
		b = append(b, "\", \"name\": \""...)
		b = append(b, vocabulary[r.skewed(len(vocabulary))]...)
		b = append(b, "\", \"count\": "...)
		b = number(b, 1+r.below(9))
		b = append(b, ", \"price\": "...)
		b = cents(b, r.below(100_000))
		b = append(b, '}')
	}
	b = append(b, "], \"log\": ["...)
	for i, d := range days {
		if i > 0 {
			b = append(b, ", "...)
		}
		b = append(b, '"')
		b = stamp(b, 330+d, at(seed, 15, uint64(id), uint64(d)).below(86_400))
		b = append(b, '"')
	}
	b = append(b, "]}\t"...)
	day, second := r.below(300), r.below(86_400)
	b = stamp(b, day, second)
	b = append(b, '\t')
	if len(days) > 0 {
		day = 330 + days[len(days)-1]
	}
	b = stamp(b, day, second)
	return append(b, '\n')
}

// event: id, account, kind, amount, session, latency, at. Eight of them are one
// visitor's session.
func event(b []byte, seed uint64, id int, days []int) []byte {
	r := at(seed, 5, uint64(id))
	b = number(b, id)
	b = append(b, '\t')
	b = number(b, 1+r.below(2_000_000))
	b = append(b, '\t')
	b = append(b, [6]string{"view", "search", "order", "payment", "login", "export"}[r.skewed(6)]...)
	b = append(b, '\t')
	amount := r.below(1_000_000)
	for _, d := range days {
		amount = at(seed, 16, uint64(id), uint64(d)).below(1_000_000)
	}
	b = cents(b, amount)
	b = append(b, '\t')
	b = uuid(b, at(seed, 7, uint64(id/8)))
	b = append(b, '\t')
	b = cents(b, r.below(30_000))
	b = append(b, '\t')
	b = stamp(b, id/20_000, id/2)
	return append(b, '\n')
}
