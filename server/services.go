package server

import (
	"errors"
	"fmt"
	"reflect"

	"google.golang.org/grpc"
)

// A collection keeps services until the servers that they are registered with
// exist.
type collection []service

type service struct {
	desc *grpc.ServiceDesc
	impl any
}

// RegisterService implements grpc.ServiceRegistrar.
func (c *collection) RegisterService(desc *grpc.ServiceDesc, impl any) {
	*c = append(*c, service{desc, impl})
}

// GetServiceInfo implements reflection.ServiceInfoProvider.
func (c *collection) GetServiceInfo() map[string]grpc.ServiceInfo {
	all := make(map[string]grpc.ServiceInfo, len(*c))
	for _, s := range *c {
		all[s.desc.ServiceName] = s.info()
	}
	return all
}

func (s service) info() grpc.ServiceInfo {
	info := grpc.ServiceInfo{Metadata: s.desc.Metadata}
	for _, m := range s.desc.Methods {
		info.Methods = append(info.Methods, grpc.MethodInfo{Name: m.MethodName})
	}
	for _, st := range s.desc.Streams {
		info.Methods = append(info.Methods, grpc.MethodInfo{
			Name: st.StreamName, IsClientStream: st.ClientStreams, IsServerStream: st.ServerStreams,
		})
	}
	return info
}

// check reports services for which grpc-go would end the process, or panic at the
// first call.
func (c *collection) check() error {
	seen := map[string]bool{}
	for _, s := range *c {
		name := s.desc.ServiceName
		if seen[name] {
			return fmt.Errorf("server: service %s is registered twice; remove one registration", name)
		}
		seen[name] = true
		if err := s.check(); err != nil {
			return fmt.Errorf("server: service %s %w", name, err)
		}
	}
	return nil
}

func (s service) check() error {
	if v := reflect.ValueOf(s.impl); s.impl == nil || v.Kind() == reflect.Pointer && v.IsNil() {
		return errors.New("is registered without an implementation; pass one that is not nil")
	}
	handler := reflect.TypeOf(s.desc.HandlerType)
	if handler == nil || handler.Kind() != reflect.Pointer || handler.Elem().Kind() != reflect.Interface {
		return errors.New("has a description without the interface to implement (HandlerType); use generated code")
	}
	if want := handler.Elem(); !reflect.TypeOf(s.impl).Implements(want) {
		return fmt.Errorf("is registered with a %T, which does not implement %s", s.impl, want)
	}
	seen := map[string]bool{}
	for _, m := range s.info().Methods {
		if seen[m.Name] {
			return fmt.Errorf("describes the method %s twice; use generated code", m.Name)
		}
		seen[m.Name] = true
	}
	return nil
}
