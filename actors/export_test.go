package actors

// Registered is how many actors of a node the library knows, and how many mailboxes are kept to be looked at.
func Registered(n *Node) (living, boxes int) {
	g := n.ground.(*realGround) //nolint:forcetypeassert // of a node of these tests
	for _, bucket := range g.system.ProcessRegistry.LocalPIDs.LocalPIDs {
		living += bucket.Count()
	}
	g.boxes.mu.Lock()
	defer g.boxes.mu.Unlock()
	return living, len(g.boxes.boxes)
}
