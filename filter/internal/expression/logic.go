package expression

// and is false if an operand is, else NULL if one is.
func and(a, b *node) (*node, error) {
	x, y, err := truths(a, b)
	if err != nil {
		return nil, err
	}
	f, g := x.ints, y.ints
	return fold(newInt(func(m *machine) (int64, bool) {
		v, ok := f(m)
		if ok && v == 0 {
			return 0, true
		}
		w, ok2 := g(m)
		if ok2 && w == 0 {
			return 0, true
		}
		return 1, ok && ok2
	}), x, y)
}

// or is true if an operand is, else NULL if one is.
func or(a, b *node) (*node, error) {
	x, y, err := truths(a, b)
	if err != nil {
		return nil, err
	}
	f, g := x.ints, y.ints
	return fold(newInt(func(m *machine) (int64, bool) {
		v, ok := f(m)
		if ok && v != 0 {
			return 1, true
		}
		w, ok2 := g(m)
		if ok2 && w != 0 {
			return 1, true
		}
		return 0, ok && ok2
	}), x, y)
}

func xor(a, b *node) (*node, error) {
	x, y, err := truths(a, b)
	if err != nil {
		return nil, err
	}
	f, g := x.ints, y.ints
	return fold(newInt(func(m *machine) (int64, bool) {
		v, ok := f(m)
		if !ok {
			return 0, false
		}
		w, ok := g(m)
		return truth((v != 0) != (w != 0)), ok
	}), x, y)
}

func not(n *node) (*node, error) {
	t, err := n.asTruth()
	if err != nil {
		return nil, err
	}
	f := t.ints
	return fold(newInt(func(m *machine) (int64, bool) {
		v, ok := f(m)
		return truth(v == 0), ok
	}), t)
}

func truths(a, b *node) (x, y *node, err error) {
	if x, err = a.asTruth(); err != nil {
		return nil, nil, err
	}
	y, err = b.asTruth()
	return x, y, err
}
