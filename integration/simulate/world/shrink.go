package world

// shrinkRuns bounds how many runs Shrink takes.
const shrinkRuns = 400

// Shrink makes a failing run shorter: it leaves out faults, and inputs, as long as it still fails. It returns the options of
// the shortest run that it found.
func Shrink(opts Options) (Options, Result) {
	opts.Trace = nil
	best := Run(opts)
	skip := map[string]bool{}
	for name := range opts.Skip {
		skip[name] = true
	}
	runs := 0
	try := func(o Options) bool {
		if runs++; runs > shrinkRuns {
			return false
		}
		r := Run(o)
		if r.Err == nil {
			return false
		}
		opts, best = o, r
		return true
	}
	for size := max(len(best.Faults)/2, 1); size >= 1; size /= 2 {
		for from := 0; from < len(best.Faults); {
			o := opts
			o.Skip = map[string]bool{}
			for name := range skip {
				o.Skip[name] = true
			}
			for _, name := range best.Faults[from:min(from+size, len(best.Faults))] {
				o.Skip[name] = true
			}
			if try(o) {
				skip = o.Skip
			} else {
				from += size
			}
		}
	}
	for _, n := range []int{5, 10, 20, 40} {
		o := opts
		if o.Inputs = n; try(o) {
			break
		}
	}
	return opts, best
}
