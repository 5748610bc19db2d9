// Package notify tells people what goes wrong, and that it is well again.
//
// Judge is a pure function: from what is wrong already and the facts now to what
// begins and what ends. Only such changes are told. They go through Raft into a
// log of events; each channel has a cursor into it, and tells all that is behind
// it in one message. A message is sent first and the cursor moved afterwards: a
// change of leader in between repeats one message and loses none.
package notify
