// Package sharing lets subscriptions to the same span share one that is pulled.
//
// Ten changefeeds of one table are ten members of a trunk: TiKV scans and sends
// the table's changes once, and they are received, decoded and matched once. Each
// member sorts and holds what it gets for itself, within its own memory quota,
// so none waits for another.
//
// The first to ask for a span becomes the trunk's first member. A later one has
// its own start ts, so it begins with a subscription of its own, the branch,
// and asks the trunk to record what comes. When the trunk has recorded everything
// above a resolved ts R, which takes an interval or two between resolved ts, the
// member gets the record and from then on what the trunk gets; its branch ends
// when it has delivered everything up to R. A trunk with one member records
// nothing: sharing costs nothing as long as nobody shares.
package sharing
