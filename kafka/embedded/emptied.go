package embedded

import (
	"encoding/json"
	"errors"
	"fmt"
	"net/url"
	"os"
	"path/filepath"
	"strconv"

	"github.com/twmb/franz-go/pkg/kmsg"
)

// deletedFile, in a partition's folder, says up to which offset its records were deleted on request.
const deletedFile = "deleted"

// noteDeleted notes, before kfake deletes records, up to where: a broker that is killed has no snapshot that tells.
func noteDeleted(data string, req *kmsg.DeleteRecordsRequest) error {
	for _, t := range req.Topics {
		for _, p := range t.Partitions {
			folder := filepath.Join(data, "partitions", fmt.Sprintf("%s-%d", url.PathEscape(t.Topic), p.Partition))
			to := p.Offset
			if to < 0 { // all of it. Where a number is given, the segment need not be read
				end, err := endOf(folder)
				if err != nil {
					return err
				}
				to = end
			}
			if before, err := deletedTo(folder); err != nil {
				return err
			} else if to > before {
				if err := writeAtomically(filepath.Join(folder, deletedFile), strconv.FormatInt(to, 10)); err != nil && !errors.Is(err, os.ErrNotExist) { // nothing was ever there
					return err
				}
			}
		}
	}
	return nil
}

// deletedTo is what noteDeleted has written; 0: nothing.
func deletedTo(folder string) (int64, error) {
	raw, err := os.ReadFile(filepath.Join(folder, deletedFile))
	if errors.Is(err, os.ErrNotExist) {
		return 0, nil
	}
	if err != nil {
		return 0, err
	}
	to, err := strconv.ParseInt(string(raw), 10, 64)
	if err != nil {
		return 0, fmt.Errorf("file %s: %w", deletedFile, err)
	}
	return to, nil
}

// endOf is the offset behind the last batch of a partition; 0: it has none.
func endOf(folder string) (end int64, err error) {
	bases, err := segments(folder)
	if errors.Is(err, os.ErrNotExist) || err == nil && len(bases) == 0 {
		return 0, nil
	}
	if err != nil {
		return 0, err
	}
	raw, err := os.ReadFile(filepath.Join(folder, strconv.FormatInt(bases[len(bases)-1], 10)+".dat"))
	if err != nil {
		return 0, err
	}
	end = bases[len(bases)-1]
	for at := 0; ; {
		size, ok := batchAt(raw[at:])
		if !ok {
			return end, nil
		}
		var b kmsg.RecordBatch
		if err := b.ReadFrom(raw[at : at+size]); err != nil {
			return end, nil //nolint:nilerr // kfake stops there too
		}
		end = b.FirstOffset + int64(b.LastOffsetDelta) + 1
		at += size
	}
}

// keepEmptied keeps the ends of partitions all of whose records were deleted (DeleteRecords, retention). kfake knows them by the
// snapshot of an orderly stop alone, and does not look at that where there is no segment: such a partition would begin anew at
// offset 0, before the offsets that groups have committed. So it is given a segment without records, which the snapshot names. What was
// emptied by retention since the last orderly stop is not known after a kill.
func keepEmptied(data string) error {
	folders, err := filepath.Glob(filepath.Join(data, "partitions", "*"))
	if err != nil {
		return err
	}
	for _, folder := range folders {
		if err := keepEnd(folder); err != nil {
			return fmt.Errorf("%s: %w", filepath.Base(folder), err)
		}
	}
	return nil
}

func keepEnd(folder string) error {
	bases, err := segments(folder)
	if err != nil {
		return err
	}
	for _, base := range bases {
		info, err := os.Stat(filepath.Join(folder, strconv.FormatInt(base, 10)+".dat"))
		if err != nil || info.Size() > 0 {
			return err
		}
	}
	file := filepath.Join(folder, snapshot)
	raw, err := os.ReadFile(file)
	if err != nil && !errors.Is(err, os.ErrNotExist) {
		return err
	}
	var snap map[string]json.RawMessage
	var end int64
	if json.Unmarshal(raw, &snap) != nil || json.Unmarshal(snap["high_watermark"], &end) != nil { // kfake does not go by it either
		snap, end = map[string]json.RawMessage{"version": json.RawMessage("1")}, 0
	}
	deleted, err := deletedTo(folder)
	if err != nil {
		return err
	}
	if end = max(end, deleted); end <= 0 {
		return nil
	}
	at := strconv.FormatInt(end, 10)
	for _, name := range []string{"high_watermark", "last_stable_offset", "log_start_offset"} {
		snap[name] = json.RawMessage(at)
	}
	snap["segments"] = json.RawMessage(`[{"base_offset":` + at + `,"size":0}]`)
	if raw, err = json.Marshal(snap); err != nil {
		return err
	}
	for _, base := range bases { // of an earlier start that has written nothing
		if err := os.Remove(filepath.Join(folder, strconv.FormatInt(base, 10)+".dat")); err != nil {
			return err
		}
	}
	if err := os.WriteFile(filepath.Join(folder, at+".dat"), nil, 0o600); err != nil {
		return err
	}
	return writeAtomically(file, string(raw))
}
