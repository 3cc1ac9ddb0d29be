package tables

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"os"
	"strconv"
)

// checkFile reads the log of a checkpoint file as buntdb will, and refuses what buntdb would trip over: it takes lengths
// at their word (a damaged one is an allocation that ends the process), panics at commands without a name, truncates a
// file that is not its own, and after zero bytes in the middle goes on writing at the wrong place. A last command that is
// cut short is what a crash leaves, and fine. There is no fault in a file that is not there.
func checkFile(path string) (err error) {
	f, err := os.Open(path)
	if errors.Is(err, os.ErrNotExist) {
		return nil
	}
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, f.Close()) }()
	st, err := f.Stat()
	if err != nil || st.Size() == 0 {
		return err
	}
	r := logReader{r: bufio.NewReaderSize(f, 64<<10), left: st.Size()}
	for commands := 0; ; commands++ {
		switch err := r.command(); {
		case err == nil:
		case !errors.Is(err, io.EOF):
			return fmt.Errorf("not a file of buntdb: %w", err)
		case commands == 0:
			return errors.New("nothing in it can be read")
		default:
			return nil
		}
	}
}

// logReader reads the commands of buntdb's log: *N, then N times $LENGTH and that many bytes, each line ended by CR LF.
type logReader struct {
	r    *bufio.Reader
	left int64 // bytes of the file
}

// command reads over one command. It returns io.EOF at the end, be it in the middle of a command.
func (l *logReader) command() error {
	if err := l.zeros(); err != nil {
		return err
	}
	parts, err := l.number('*')
	if err != nil {
		return err
	}
	if parts < 1 || parts > 5 {
		return fmt.Errorf("a command of %d parts", parts)
	}
	for i := range parts {
		n, err := l.number('$')
		if err != nil {
			return err
		}
		if i == 0 && n < 3 {
			return errors.New("a command without a name")
		}
		if n+2 > l.left {
			return io.EOF
		}
		if _, err := l.r.Discard(int(n + 2)); err != nil {
			return err
		}
		l.left -= n + 2
	}
	return nil
}

// zeros reads over the zero bytes that a crash of the machine may leave at the end; anything behind them is damage.
func (l *logReader) zeros() error {
	for seen := false; ; seen = true {
		b, err := l.r.Peek(1)
		switch {
		case err != nil:
			return err
		case b[0] == 0:
			if _, err := l.r.Discard(1); err != nil {
				return err
			}
			l.left--
		case seen:
			return errors.New("zero bytes amid its commands")
		default:
			return nil
		}
	}
}

func (l *logReader) number(sign byte) (int64, error) {
	const longest = 20
	line, err := l.r.ReadSlice('\n')
	l.left -= int64(len(line))
	switch n := len(line); {
	case n > 0 && line[0] != sign:
		return 0, fmt.Errorf("%q where %q belongs", line[:1], sign)
	case err != nil && !errors.Is(err, bufio.ErrBufferFull):
		return 0, err
	case err != nil || n > longest+3 || n < 4 || line[n-2] != '\r':
		return 0, errors.New("a line that is no length")
	}
	x, err := strconv.ParseUint(string(line[1:len(line)-2]), 10, 31)
	if err != nil {
		return 0, fmt.Errorf("a length of %q", line[1:len(line)-2])
	}
	return int64(x), nil
}
