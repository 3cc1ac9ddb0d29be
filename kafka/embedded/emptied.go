package embedded

import (
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
)

// keepEmptied keeps the ends of partitions all of whose records were deleted (DeleteRecords, retention). kfake knows them by the
// snapshot of an orderly stop alone, and does not look at that where there is no segment: such a partition would begin anew at
// offset 0, before the offsets that groups have committed. So it is given a segment without records, which the snapshot names.
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
	if errors.Is(err, os.ErrNotExist) {
		return nil
	}
	if err != nil {
		return err
	}
	var snap map[string]json.RawMessage
	var end int64
	if json.Unmarshal(raw, &snap) != nil || json.Unmarshal(snap["high_watermark"], &end) != nil || end <= 0 {
		return nil //nolint:nilerr // kfake does not go by it either
	}
	at := strconv.FormatInt(end, 10)
	snap["log_start_offset"] = json.RawMessage(at)
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
