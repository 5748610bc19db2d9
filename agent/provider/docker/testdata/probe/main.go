// Command probe is what the tests run in containers, and the helper binary of
// the provider under test.
package main

import (
	"context"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"

	"github.com/baktainer/baktainer/agent/provider/docker/mark"
)

func main() { os.Exit(run(os.Args)) }

// address is where one container serves.
const address = "127.0.0.1:7000"

// block blocks for ever; to the runtime, an empty select alone is a deadlock.
func block() {
	never := make(chan os.Signal, 1)
	signal.Notify(never, syscall.SIGUSR2)
	<-never
}

func run(args []string) int {
	switch {
	case filepath.Base(args[0]) == "cat" && len(args) == 1:
		args = []string{"probe", "echo"}
	case filepath.Base(args[0]) == "cat":
		args = append([]string{"probe", "file"}, args[1:]...)
	}
	if len(args) > 1 && args[1] == "helper" {
		if len(args) > 2 && args[2] == mark.Command {
			return mark.Main(context.Background(), args[3:], os.Stderr)
		}
		args = args[1:]
	}
	switch args[1] {
	case "wait": // until asked to end
		fmt.Println("ready")
		asked := make(chan os.Signal, 1)
		signal.Notify(asked, syscall.SIGTERM, syscall.SIGINT)
		<-asked
	case "stubborn": // with a child of the same kind, which has no mark
		signal.Ignore(syscall.SIGTERM)
		if len(args) == 2 {
			child := exec.Command(args[0], "stubborn", "child")
			child.Env = []string{"PATH=/"}
			child.Stdout = os.Stdout
			if err := child.Start(); err != nil {
				return 3
			}
		} else {
			fmt.Println("ready")
		}
		block()
	case "count": // words that match, among the arguments of all processes
		n := 0
		lines, _ := filepath.Glob("/proc/[0-9]*/cmdline")
		for _, line := range lines {
			if b, err := os.ReadFile(line); err == nil && strings.Contains(string(b), args[2]) && !strings.Contains(string(b), "count") {
				n++
			}
		}
		fmt.Println(n)
	case "gen": // as many bytes, always the same ones
		n, _ := strconv.ParseInt(args[2], 10, 64)
		r := rand.NewChaCha8([32]byte{1})
		if _, err := io.CopyN(os.Stdout, r, n); err != nil {
			return 4
		}
		fmt.Fprintf(os.Stderr, "wrote %d bytes, password is %s\n", n, os.Getenv("SECRET"))
	case "drip": // without end
		for {
			if _, err := os.Stdout.Write(make([]byte, 1<<20)); err != nil {
				return 4
			}
		}
	case "echo":
		if _, err := io.Copy(os.Stdout, os.Stdin); err != nil {
			return 4
		}
	case "swallow": // tells on the volume whether the input's end was seen
		if _, err := io.Copy(io.Discard, os.Stdin); err != nil {
			return 4
		}
		if err := os.WriteFile(args[2], []byte("end"), 0o600); err != nil {
			return 5
		}
	case "serve": // a word to everybody who connects
		server, err := net.Listen("tcp", address)
		if err != nil {
			return 4
		}
		fmt.Println("ready")
		for {
			c, err := server.Accept()
			if err != nil {
				return 4
			}
			fmt.Fprintln(c, "welcome")
			c.Close()
		}
	case "visit":
		c, err := net.Dial("tcp", address)
		if err != nil {
			fmt.Fprintln(os.Stderr, err)
			return 1
		}
		_, _ = io.Copy(os.Stdout, c)
	case "file":
		b, err := os.ReadFile(args[2])
		if err != nil {
			fmt.Fprintln(os.Stderr, err)
			return 1
		}
		os.Stdout.Write(b)
	case "write":
		b, _ := io.ReadAll(os.Stdin)
		if err := os.WriteFile(args[2], b, 0o600); err != nil {
			fmt.Fprintln(os.Stderr, err)
			return 1
		}
	case "shut": // stdout, and go on
		os.Stdout.Close()
		os.Stderr.Close()
		block()
	case "exit":
		n, _ := strconv.Atoi(args[2])
		fmt.Fprintln(os.Stderr, "ending with", n)
		return n
	}
	return 0
}
