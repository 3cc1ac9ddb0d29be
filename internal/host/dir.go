package host

import (
	"crypto/rand"
	"encoding/hex"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
)

// Dir is a data directory that this process owns: no other process can open it until it is closed. It holds
// the checkpoints, the name by which the group knows this node, and the embedded broker's data.
type Dir struct {
	Path     string // absolute
	Instance string // group.instance.id, the same at each start in this directory
	Nonce    string // of this process; tells it from every other that has or had the same instance
	lock     *os.File
}

// The files of a data directory.
const (
	lockFile     = "lock"
	instanceFile = "instance"
	addressFile  = "address"       // the URL at which the node that runs is asked; gone when it stops in order
	commandsFile = "commands.lock" // held while a broker is looked for, and by commands as long as theirs runs
)

var validInstance = regexp.MustCompile(`^[A-Za-z0-9._-]{1,200}$`)

// OpenDir makes the directory if it is missing, takes its lock and reads the instance id, which it makes once. A
// non-empty instance overrides that for this process. Errors say what is wrong with the directory: it is a
// file, it is not writable, another node has it.
func OpenDir(path, instance string) (*Dir, error) {
	if instance != "" && !validInstance.MatchString(instance) {
		return nil, &ConfigError{fmt.Errorf("instance id %q: use letters, digits, dot, dash and underscore, 200 at most", instance)}
	}
	path, err := MakeDir(path)
	if err != nil {
		return nil, err
	}
	lock, err := takeLock(filepath.Join(path, lockFile))
	if errors.Is(err, errLocked) {
		return nil, fmt.Errorf("data directory %s is in use by another node%s: stop it, or give this one its own directory with --data-dir and the other's broker with --brokers", path, holderOf(filepath.Join(path, lockFile)))
	}
	if err != nil {
		return nil, dirError(path, err)
	}
	d := &Dir{Path: path, Instance: instance, Nonce: randomHex(8), lock: lock}
	if d.Instance == "" {
		if d.Instance, err = readInstance(filepath.Join(path, instanceFile)); err != nil {
			return nil, errors.Join(err, lock.Close())
		}
	}
	return d, nil
}

// Close lets go of the directory. It is safe to call twice.
func (d *Dir) Close() error {
	if d.lock == nil {
		return nil
	}
	lock := d.lock
	d.lock = nil
	return lock.Close() // closing the file releases the lock
}

// tellAddress leaves for commands where this node is asked, and who it is.
func (d *Dir) tellAddress(url string) error {
	if err := writeWhole(filepath.Join(d.Path, addressFile), url+"\n"+d.Instance+"\n"); err != nil {
		return dirError(d.Path, err)
	}
	return nil
}

func (d *Dir) forgetAddress() error {
	if err := os.Remove(filepath.Join(d.Path, addressFile)); err != nil && !errors.Is(err, os.ErrNotExist) {
		return dirError(d.Path, err)
	}
	return nil
}

// AddressIn is where the node is asked that runs in a data directory, or ran there and was killed, and who that is; empty: none
// does.
func AddressIn(dir string) (url, instance string, err error) {
	b, err := os.ReadFile(filepath.Join(dir, addressFile))
	if errors.Is(err, os.ErrNotExist) {
		return "", "", nil
	}
	if err != nil {
		return "", "", fmt.Errorf("data directory %s cannot be read: %w", dir, cause(err))
	}
	url, instance, _ = strings.Cut(strings.TrimSpace(string(b)), "\n")
	return url, instance, nil
}

// DefaultDir is the data directory of a topology for which none is named: troupe/<name> in the user's state
// directory, $XDG_STATE_HOME or ~/.local/state.
func DefaultDir(name string) (string, error) {
	// Relative paths in it are invalid, says the XDG base directory specification.
	if state := os.Getenv("XDG_STATE_HOME"); filepath.IsAbs(state) {
		return filepath.Join(state, "troupe", name), nil
	}
	home, err := os.UserHomeDir()
	if err != nil || home == "" {
		return "", errors.New("there is no home directory to keep data in: name a directory with --data-dir")
	}
	return filepath.Join(home, ".local", "state", "troupe", name), nil
}

// StateDir is where a data directory keeps the state of a topology, and CheckpointFile in it that of one partition of a
// table. All of it is made anew from the broker where it is missing.
func StateDir(dir, topology string) string { return filepath.Join(dir, "state", topology) }

// CheckpointFile is the path of a table's checkpoint of one partition.
func CheckpointFile(dir, topology, table string, partition int32) string {
	return filepath.Join(StateDir(dir, topology), "tables", fmt.Sprintf("%s-%d.db", table, partition))
}

// MakeDir makes a data directory if it is missing and returns its absolute path.
func MakeDir(path string) (string, error) {
	if path == "" {
		return "", errors.New("the data directory has no name: name one with --data-dir")
	}
	path, err := filepath.Abs(path)
	if err != nil {
		return "", fmt.Errorf("data directory: %w", err)
	}
	if info, err := os.Stat(path); err == nil && !info.IsDir() {
		return "", fmt.Errorf("data directory %s is a file: name a directory with --data-dir", path)
	}
	if err := os.MkdirAll(path, 0o700); err != nil {
		return "", dirError(path, err)
	}
	return path, nil
}

// dirError says of a failure in a data directory what the user can do about it.
func dirError(path string, err error) error {
	return fmt.Errorf("data directory %s cannot be written (%w): make it writable for this user, or name another with --data-dir", path, cause(err))
}

// cause strips the path that a file system's error repeats.
func cause(err error) error {
	if p, ok := errors.AsType[*os.PathError](err); ok {
		return p.Err
	}
	return err
}

// takeLock opens a lock file and locks it, or fails with errLocked. The lock ends with the process at the latest.
func takeLock(path string) (*os.File, error) {
	f, err := os.OpenFile(path, os.O_CREATE|os.O_RDWR, 0o600)
	if err != nil {
		return nil, err
	}
	if err := flock(f); err != nil {
		return nil, errors.Join(err, f.Close())
	}
	// Who holds it is a courtesy for the message of the next one; the lock itself is the kernel's.
	if err := f.Truncate(0); err == nil {
		_, _ = f.WriteAt([]byte(strconv.Itoa(os.Getpid())+"\n"), 0)
	}
	return f, nil
}

// holderOf tells which process wrote a lock file last, for a message; empty if it cannot be read.
func holderOf(path string) string {
	b, err := os.ReadFile(path)
	if err != nil {
		return ""
	}
	if pid, err := strconv.Atoi(strings.TrimSpace(string(b))); err == nil {
		return fmt.Sprintf(" (process %d)", pid)
	}
	return ""
}

// readInstance reads the instance id, or makes it: written whole or not at all, since a node that comes
// back under another name would wait for the session of its former self to end.
func readInstance(path string) (string, error) {
	b, err := os.ReadFile(path)
	if err == nil {
		id := strings.TrimSpace(string(b))
		if !validInstance.MatchString(id) {
			return "", fmt.Errorf("file %s does not hold an instance id: delete it to have a new one made", path)
		}
		return id, nil
	}
	if !errors.Is(err, os.ErrNotExist) {
		return "", dirError(filepath.Dir(path), err)
	}
	id := randomHex(8)
	if err := writeWhole(path, id+"\n"); err != nil {
		return "", dirError(filepath.Dir(path), err)
	}
	return id, nil
}

func writeWhole(path, text string) (err error) {
	f, err := os.OpenFile(path+".new", os.O_CREATE|os.O_WRONLY|os.O_TRUNC, 0o600)
	if err != nil {
		return err
	}
	_, err = f.WriteString(text)
	if err := errors.Join(err, f.Sync(), f.Close()); err != nil {
		return err
	}
	return os.Rename(path+".new", path)
}

func randomHex(n int) string {
	b := make([]byte, n)
	_, _ = rand.Read(b) // never fails: crypto/rand ends the process instead
	return hex.EncodeToString(b)
}
