// Package kvnode is a stand-in for TiKV stores: the MVCC engine of TiDB's
// unistore behind TiKV's gRPC services, registered in a real PD, with a
// ChangeData service that follows TiKV's.
//
// A Cluster has any number of stores and one engine that they share. Every
// region has one peer on each store; only the leader's store answers for it, the
// others say NotLeader. So splits, merges and leader transfers are changes of a
// map and never move data, while clients see what they would see of TiKV.
//
//	engine   badger, the lock store and the engine's transaction layer
//	hook     wraps the engine's writer: every change of MVCC state passes it
//	hub      tracks locks, routes changes to subscriptions, ticks resolved ts
//	feed     the ChangeData service: registrations, scans, one queue per stream
//	region   the region map; split, merge, transfer
//	store    one store's listener, services and heartbeats
//	read     reads of old versions, which the engine alone gets wrong
//
// Lock order: hub.mu, then regionMap.mu, then a stream's mu. The region map and
// the subscriptions change together under hub.mu; otherwise a row could be routed
// to a region nobody watches yet, while the resolved ts of the old subscription
// moves past it.
package kvnode
