package command

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"sync"
	"time"

	"github.com/troupe-stream/troupe/kafka"
	"github.com/troupe-stream/troupe/topology/plan"
)

const (
	feedBuffer = 256 << 10 // read at once
	feedChunk  = 1 << 20   // bytes sent at once
	// recordOverhead is what a record batch with one record adds to key and value, generously.
	recordOverhead = 128
	// longestScan is how far an oversize line is read on to tell its size.
	longestScan = 256 << 20
)

// feed sends the lines of a file to a topic.
type feed struct {
	topic  *plan.Topic
	name   string // of the file, for messages
	keyed  bool
	stdin  bool
	in     io.Reader
	closer io.Closer

	limit      int // of one record: the topic's max.message.bytes
	partitions int32
	turn       int32 // of the next record without a key
}

func (f *feed) close() {
	if f.closer != nil {
		_ = f.closer.Close() // only read
	}
}

// chunk is a run of lines that is ready to be sent.
type chunk struct {
	out  *kafka.Outputs
	last int // number of its last line
	err  error
}

// run feeds the file to its end and returns the number of lines. While one chunk is on its way the next is read, no more.
// It returns at once when ctx ends, even if a read of standard input hangs on.
func (f *feed) run(ctx context.Context, admin kafka.Admin) (int, error) {
	states, err := admin.Topics(ctx, f.topic.Name)
	if err != nil {
		return 0, fmt.Errorf("feed %s: %w", f.topic.Name, err)
	}
	state, ok := states[f.topic.Name]
	if !ok || state.Partitions == 0 {
		mend := "add --create-topics, or make it"
		if f.topic.Pattern != nil {
			mend = "make it, and nodes that match it with " + f.topic.Pattern.Expr + " will find it"
		}
		return 0, fmt.Errorf("feed %s: the topic does not exist: %s", f.topic.Name, mend)
	}
	f.limit, f.partitions = maxMessage(&state), state.Partitions

	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	chunks := make(chan chunk)
	var reader sync.WaitGroup
	reader.Go(func() {
		defer close(chunks)
		f.read(func(c chunk) bool {
			select {
			case chunks <- c:
				return true
			case <-ctx.Done():
				return false
			}
		})
	})
	done := f.send(ctx, admin, chunks)
	cancel()
	f.unblock()
	if f.closer != nil {
		reader.Wait() // a file's read ends; that of a terminal only with the process
	}
	return done.last, done.err
}

// unblock ends a read that waits for a pipe or a terminal, where the system can do that.
func (f *feed) unblock() {
	if d, ok := f.in.(*os.File); ok {
		_ = d.SetReadDeadline(time.Unix(1, 0)) // regular files and some terminals refuse it
	}
}

// send produces chunks as they come; the result tells the last line that was acknowledged.
func (f *feed) send(ctx context.Context, admin kafka.Admin, chunks <-chan chunk) (done chunk) {
	names := []string{f.topic.Name}
	for {
		select {
		case <-ctx.Done():
			done.err = ctx.Err()
			return done
		case c, ok := <-chunks:
			if !ok {
				return done
			}
			if c.out != nil && c.out.Len() > 0 {
				if _, err := admin.Produce(ctx, names, c.out); err != nil {
					if ctx.Err() != nil {
						done.err = ctx.Err()
						return done
					}
					done.err = fmt.Errorf("feed %s from %s: lines %d to %d: %w", f.topic.Name, f.name, done.last+1, c.last, err)
					return done
				}
				done.last = c.last
			}
			if c.err != nil {
				done.err = fmt.Errorf("feed %s from %s: %w (the %d lines before have been fed)", f.topic.Name, f.name, c.err, c.last)
				return done
			}
		}
	}
}

// read cuts the file into lines and gives them away in chunks, until give refuses. A chunk goes early when the next
// read might wait: whoever types a line sees it counted.
func (f *feed) read(give func(chunk) bool) {
	r := bufio.NewReaderSize(f.in, feedBuffer)
	c := chunk{out: new(kafka.Outputs)}
	for {
		line, more, err := f.line(r)
		if err == nil && more {
			err = f.add(c.out, line)
		}
		if err != nil {
			c.err = fmt.Errorf("line %d: %w", c.last+1, err)
		}
		if c.err != nil || !more {
			give(c)
			return
		}
		c.last++
		if len(c.out.Arena) >= feedChunk || !bytes.ContainsRune(peek(r), '\n') {
			if !give(c) {
				return
			}
			c.out = new(kafka.Outputs)
		}
	}
}

// peek returns what is in the reader's buffer.
func peek(r *bufio.Reader) []byte {
	b, _ := r.Peek(r.Buffered()) // cannot fail: it is there
	return b
}

// line reads the next line, without the newline; a last line without one counts. Bytes are as they are in the file. A line over
// the limit is an error that tells its size.
func (f *feed) line(r *bufio.Reader) (line []byte, more bool, err error) {
	size := 0
	for {
		part, err := r.ReadSlice('\n')
		size += len(part)
		if err == nil {
			size-- // the newline
			part = part[:len(part)-1]
		}
		fits := size+recordOverhead <= f.limit
		switch {
		case fits && err == nil && line == nil:
			return part, true, nil // the common case: no copy; valid until the next read
		case fits:
			line = append(line, part...)
		default:
			line = nil
		}
		switch {
		case errors.Is(err, bufio.ErrBufferFull) && size <= longestScan:
			continue
		case err != nil && !errors.Is(err, io.EOF) && !errors.Is(err, bufio.ErrBufferFull):
			return nil, false, err
		}
		if !fits {
			return nil, false, f.tooLong(size)
		}
		return line, err == nil || size > 0, nil
	}
}

func (f *feed) tooLong(size int) error {
	over := ""
	if size > longestScan {
		over = "more than "
	}
	return fmt.Errorf("it has %s%d bytes, and topic %s takes %d in a record: split the line, or raise the topic's max.message.bytes",
		over, size, f.topic.Name, f.limit-recordOverhead)
}

// add appends a line as a record.
func (f *feed) add(out *kafka.Outputs, line []byte) error {
	if !f.keyed {
		value, err := encode(f.topic.Value, line)
		if err != nil {
			return fmt.Errorf("the value is not %s: %w", article(f.topic.Value.Type), err)
		}
		out.Append(0, f.turn, 0, nil, value, nil)
		f.turn = (f.turn + 1) % f.partitions
		return nil
	}
	k, v, ok := bytes.Cut(line, []byte{'\t'})
	if !ok {
		return errors.New("there is no TAB in it: --feed-keyed wants KEY<TAB>VALUE")
	}
	key, err := encode(f.topic.Key, k)
	if err != nil {
		return fmt.Errorf("the key is not %s: %w", article(f.topic.Key.Type), err)
	}
	value, err := encode(f.topic.Value, v)
	if err != nil {
		return fmt.Errorf("the value is not %s: %w", article(f.topic.Value.Type), err)
	}
	out.Append(0, f.topic.PartitionOf(key, f.partitions), 0, key, value, nil)
	return nil
}

// encode turns text of a file into bytes of a record. Strings and bytes go as they are, whether valid UTF-8 or not.
func encode(t plan.Text, text []byte) ([]byte, error) {
	switch t.Type {
	case "string", "[]byte", "[]uint8":
		if text == nil {
			return []byte{}, nil
		}
		return text, nil
	}
	return t.Parse(string(text))
}

// article puts "a" or "an" before the name of a type.
func article(name string) string {
	if name != "" && bytes.IndexByte([]byte("aeiouAEIOU"), name[0]) >= 0 {
		return "an " + name
	}
	return "a " + name
}
