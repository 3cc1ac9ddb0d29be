package tables_test

import (
	"fmt"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/troupe-stream/troupe/kafka"
	"github.com/troupe-stream/troupe/tables"
)

type rawCodec struct{}

func (rawCodec) Append(b []byte, v []byte) ([]byte, error) { return append(b, v...), nil }
func (rawCodec) Decode(b []byte) ([]byte, error)           { return b, nil } // may share, says codec.Codec

var raws = &tables.Spec[[]byte]{Name: "t", Codec: rawCodec{}}

func TestReviewBytesGet(t *testing.T) {
	s := tables.New(raws, tables.Config{Table: "t"})
	o := tables.NewOps(raws)
	require.NoError(t, o.Set([]byte("k"), []byte("abc")))
	require.NoError(t, s.Apply(1, o, new(kafka.Outputs)))
	g := &tables.Get[[]byte]{Key: []byte("k")}
	s.Answer(g)
	g.Value[0] = 'X'
	g2 := &tables.Get[[]byte]{Key: []byte("k")}
	s.Answer(g2)
	require.Equal(t, "abc", string(g2.Value))
}

func TestReviewBytesFailingUpdate(t *testing.T) {
	s := tables.New(raws, tables.Config{Table: "t"})
	o := tables.NewOps(raws)
	require.NoError(t, o.Set([]byte("k"), []byte("abc")))
	require.NoError(t, s.Apply(1, o, new(kafka.Outputs)))
	o = tables.NewOps(raws)
	o.Update([]byte("k"), func(old []byte, _ bool) ([]byte, error) { old[0] = 'X'; return nil, fmt.Errorf("no") })
	require.Error(t, s.Apply(2, o, new(kafka.Outputs)))
	s.Undo(1)
	g := &tables.Get[[]byte]{Key: []byte("k")}
	s.Answer(g)
	require.Equal(t, "abc", string(g.Value))
}

func TestReviewForeign(t *testing.T) {
	for name, text := range map[string]string{
		"short word": "*1\r\n$1\r\ns\r\n", "no word": "*1\r\n$0\r\n\r\n", "huge": "*1\r\n$9999999999999\r\nx", "long": "*1\r\n$999999999\r\nx", "zeros": "*1\r\n$7\r\nflushdb\r\n\x00\x00*1\r\n$7\r\nflushdb\r\n", "text": "hello", "star": "*",
	} {
		t.Run(name, func(t *testing.T) {
			path := filepath.Join(t.TempDir(), "t.db")
			require.NoError(t, os.WriteFile(path, []byte(text), 0o600))
			var c *tables.Checkpoint
			var err error
			require.NotPanics(t, func() { c, err = tables.OpenCheckpoint(tables.Files{}, path, id, quiet) })
			require.NoError(t, err)
			require.NotEmpty(t, c.Dropped(), "file had other content")
			require.NoError(t, c.Close())
		})
	}
}

// A busy table: between two writes every page is dirtied again. Does a checkpoint ever end?
func TestReviewBusyCheckpointEnds(t *testing.T) {
	s := tables.New(ints.spec, tables.Config{Table: "t"})
	c, err := tables.OpenCheckpoint(tables.Files{}, filepath.Join(t.TempDir(), "t.db"), id, quiet)
	require.NoError(t, err)
	defer func() { require.NoError(t, c.Close()) }()
	for epoch := int64(1); epoch <= 60; epoch++ {
		o := tables.NewOps(ints.spec)
		for i := range 5000 {
			require.NoError(t, o.Set(fmt.Appendf(nil, "k%d", i), epoch))
		}
		require.NoError(t, s.Apply(epoch, o, new(kafka.Outputs)))
		require.NoError(t, s.Seal(epoch, new(kafka.Outputs)))
		s.Committed(epoch)
		more, err := c.Write(s, 1, 4)
		require.NoError(t, err)
		if !more {
			return
		}
	}
	t.Fatalf("60 writes of 4 pages, dirty still %d: no Mark is ever due", s.Stats().Dirty)
}

// A value over the limit is found when the epoch is sealed, before anything is sent.
func TestReviewTooLarge(t *testing.T) {
	s := tables.New(raws, tables.Config{Table: "t", MaxBytes: 1000})
	o := tables.NewOps(raws)
	require.NoError(t, o.Set([]byte("k"), make([]byte, 2000)))
	var large *tables.TooLargeError
	require.NoError(t, s.Apply(1, o, new(kafka.Outputs)))
	require.ErrorAs(t, s.Seal(1, new(kafka.Outputs)), &large)
	require.Equal(t, 2001, large.Size)
}

func TestReviewPanicInUpdate(t *testing.T) {
	s := tables.New(ints.spec, tables.Config{Table: "t"})
	o := tables.NewOps(ints.spec)
	o.Update([]byte("k"), func(int64, bool) (int64, error) { panic("boom") })
	require.PanicsWithValue(t, "boom", func() { _ = s.Apply(1, o, new(kafka.Outputs)) })
	require.ErrorIs(t, s.Apply(1, tables.NewOps(ints.spec), new(kafka.Outputs)), tables.ErrFailed)
	s.Undo(0)
	g := &tables.Get[int64]{Key: []byte("k")}
	s.Answer(g)
	require.False(t, g.OK)
}

func BenchmarkReviewUpdate(b *testing.B) {
	s := tables.New(ints.spec, tables.Config{Table: "t"})
	o := tables.NewOps(ints.spec)
	for i := range 100_000 {
		require.NoError(b, o.Set(fmt.Appendf(nil, "key%d", i), 1))
	}
	require.NoError(b, s.Apply(1, o, new(kafka.Outputs)))
	s.Committed(1)
	o = tables.NewOps(ints.spec)
	inc := func(v int64, _ bool) (int64, error) { return v + 1, nil }
	for i := range 1000 {
		o.Update(fmt.Appendf(nil, "key%d", i*97), inc)
	}
	out := new(kafka.Outputs)
	epoch := int64(1)
	b.ReportAllocs()
	for b.Loop() {
		epoch++
		if err := s.Apply(epoch, o, out); err != nil {
			b.Fatal(err)
		}
		if err := s.Seal(epoch, out); err != nil {
			b.Fatal(err)
		}
		s.Committed(epoch)
		out.Reset()
	}
}

// A round left half way, then another offset: what was committed meanwhile must not be claimed without being written.
func TestReviewNewOffsetBeginsNewRound(t *testing.T) {
	path := filepath.Join(t.TempDir(), "t.db")
	s := tables.New(ints.spec, tables.Config{Table: "t"})
	c, err := tables.OpenCheckpoint(tables.Files{}, path, id, quiet)
	require.NoError(t, err)
	for epoch := int64(1); epoch <= 2; epoch++ {
		o := tables.NewOps(ints.spec)
		for i := range 500 {
			require.NoError(t, o.Set(fmt.Appendf(nil, "k%d", i), epoch))
		}
		require.NoError(t, s.Apply(epoch, o, new(kafka.Outputs)))
		s.Committed(epoch)
		more, err := c.Write(s, epoch*500, 3)
		require.NoError(t, err)
		require.True(t, more)
		require.Error(t, c.Mark(s, time.Now(), 24*time.Hour), "the round is not through")
	}
	for more := true; more; {
		more, err = c.Write(s, 1000, 3)
		require.NoError(t, err)
	}
	require.NoError(t, c.Mark(s, time.Now(), 24*time.Hour))
	require.Error(t, c.Mark(s, time.Now(), 24*time.Hour), "no round since")
	require.NoError(t, c.Close())
	c, err = tables.OpenCheckpoint(tables.Files{}, path, id, quiet)
	require.NoError(t, err)
	defer func() { require.NoError(t, c.Close()) }()
	s = tables.New(ints.spec, tables.Config{Table: "t"})
	require.NoError(t, c.Load(s))
	q := &tables.Scan[int64]{}
	s.Answer(q)
	require.NoError(t, q.Err)
	require.Len(t, q.Values, 500)
	for _, v := range q.Values {
		require.EqualValues(t, 2, v)
	}
}
