package codec

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"reflect"

	"google.golang.org/protobuf/encoding/protojson"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/reflect/protoreflect"
	"google.golang.org/protobuf/types/descriptorpb"
)

// Proto returns a codec that writes Protobuf messages. T is the pointer to a generated message, such as *orderpb.Order.
//
// Fields that T does not know are kept when a message is read and written again. As text messages are protojson; fields with the option
// debug_redact are shown as ***, or left out where they are no strings.
//
// Maps are written in the order of their keys, so that one build of a program gives equal messages equal bytes. Protobuf promises no
// more than that, so Plan refuses it for keys: use the plain type inside, or ForKeys.
func Proto[T proto.Message]() Codec[T] {
	c := protoCodec[T]{}
	c.message, c.fault = messageOf[T]()
	return c
}

type protoCodec[T proto.Message] struct {
	message protoreflect.MessageType
	fault   error
}

// messageOf finds the type of a generated message by its Go type.
func messageOf[T proto.Message]() (m protoreflect.MessageType, err error) {
	defer func() {
		if recover() != nil {
			m, err = nil, fmt.Errorf("%s is not a generated Protobuf message: use the pointer to one, such as *orderpb.Order", reflect.TypeFor[T]())
		}
	}()
	var zero T
	return zero.ProtoReflect().Type(), nil
}

// Check implements Checker.
func (c protoCodec[T]) Check() error { return c.fault }

// CheckKey implements KeyChecker.
func (protoCodec[T]) CheckKey() error {
	return errors.New("equal Protobuf messages may have other bytes in another build of the program")
}

// HoldsSecrets says whether a field of the message, or of one inside it, has debug_redact.
func (c protoCodec[T]) HoldsSecrets() bool {
	return c.message != nil && redacts(c.message.Descriptor(), map[protoreflect.FullName]bool{})
}

func redacts(m protoreflect.MessageDescriptor, seen map[protoreflect.FullName]bool) bool {
	if seen[m.FullName()] {
		return false
	}
	seen[m.FullName()] = true
	for i := range m.Fields().Len() {
		f := m.Fields().Get(i)
		if isRedacted(f) || f.Message() != nil && redacts(f.Message(), seen) {
			return true
		}
	}
	return false
}

func isRedacted(f protoreflect.FieldDescriptor) bool {
	o, ok := f.Options().(*descriptorpb.FieldOptions)
	return ok && o.GetDebugRedact()
}

func (c protoCodec[T]) Append(dst []byte, v T) ([]byte, error) {
	if c.fault != nil {
		return dst, c.fault
	}
	return proto.MarshalOptions{Deterministic: true}.MarshalAppend(dst, v)
}

func (c protoCodec[T]) Decode(b []byte) (T, error) {
	v, err := c.fresh()
	if err != nil {
		return v, err
	}
	return v, proto.Unmarshal(b, v)
}

func (c protoCodec[T]) fresh() (v T, err error) {
	if c.fault != nil {
		return v, c.fault
	}
	return c.message.New().Interface().(T), nil //nolint:forcetypeassert // it is the type's own
}

func (c protoCodec[T]) Format(v T) string {
	m := v.ProtoReflect()
	if m.IsValid() && redacts(m.Descriptor(), map[protoreflect.FullName]bool{}) {
		m = proto.Clone(v).ProtoReflect()
		redact(m)
	}
	b, err := protojson.Marshal(m.Interface())
	var line bytes.Buffer
	if err == nil {
		err = json.Compact(&line, b) // its spaces differ from build to build
	}
	if err != nil {
		return fmt.Sprintf("(a %s that is not shown: %v)", m.Descriptor().FullName(), err)
	}
	return line.String()
}

// redact masks fields in a message that is nobody else's.
func redact(m protoreflect.Message) {
	m.Range(func(f protoreflect.FieldDescriptor, v protoreflect.Value) bool {
		switch {
		case isRedacted(f) && f.Kind() == protoreflect.StringKind && f.Cardinality() != protoreflect.Repeated:
			m.Set(f, protoreflect.ValueOfString(masked))
		case isRedacted(f):
			m.Clear(f)
		case f.IsMap():
			if f.MapValue().Message() != nil {
				v.Map().Range(func(_ protoreflect.MapKey, x protoreflect.Value) bool { redact(x.Message()); return true })
			}
		case f.IsList() && f.Message() != nil:
			for i := range v.List().Len() {
				redact(v.List().Get(i).Message())
			}
		case f.Message() != nil:
			redact(v.Message())
		}
		return true
	})
}

func (c protoCodec[T]) Parse(s string) (T, error) {
	v, err := c.fresh()
	if err != nil {
		return v, err
	}
	if err := protojson.Unmarshal([]byte(s), v); err != nil {
		return v, err
	}
	return v, checkRedacted(v.ProtoReflect())
}

// checkRedacted refuses text that was copied from where fields are masked.
func checkRedacted(m protoreflect.Message) (err error) {
	m.Range(func(f protoreflect.FieldDescriptor, v protoreflect.Value) bool {
		switch {
		case f.IsMap():
			if f.MapValue().Message() != nil {
				v.Map().Range(func(_ protoreflect.MapKey, x protoreflect.Value) bool {
					err = checkRedacted(x.Message())
					return err == nil
				})
			}
		case f.IsList() && f.Message() != nil:
			for i := 0; i < v.List().Len() && err == nil; i++ {
				err = checkRedacted(v.List().Get(i).Message())
			}
		case f.IsList():
		case f.Message() != nil:
			err = checkRedacted(v.Message())
		case isRedacted(f) && f.Kind() == protoreflect.StringKind && v.String() == masked:
			err = errMasked
		}
		return err == nil
	})
	return err
}
